#include "engine/iperf3/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/iperf3/client_run.h"
#include "workers/crew.h"

namespace pollux {
namespace iperf3 {
namespace {

using Json = nlohmann::ordered_json;

class StreamParty final : public Party {
 public:
  StreamParty(Iperf3ClientService& service, std::uint64_t id, TestPtr test, Slot& slot)
      : service_(service), id_(id), test_(std::move(test)), slot_(slot) {}
  void on_open(Stream& s) override {
    if (test_->phase() == Phase::over) return s.abort();  // nobody waits for it any more
    const Bytes cookie = test_->cookie().octets();
    s.write(cookie);
    slot_.flow = {.local = s.local(), .remote = s.remote()};
    traffic_.emplace(service_.shard_of(), s, test_, slot_, cookie.size());
    service_.tell(test_->home(), id_, [](ClientRun& run) { run.on_joined(); });
  }
  // No traffic: the run was over when it opened, and it was aborted.
  void on_readable(Stream&) override {
    if (traffic_) traffic_->on_readable();
  }
  void on_writable(Stream&) override {
    if (traffic_) traffic_->on_writable();
  }
  void on_peer_closed(Stream& s) override {
    if (traffic_) traffic_->on_readable();
    s.shutdown_write();
  }
  void on_closed(Stream&, CloseReason) override {
    if (traffic_) traffic_->publish();
    service_.tell(test_->home(), id_, [](ClientRun& run) { run.on_stream_closed(); });
  }

 private:
  Iperf3ClientService& service_;
  std::uint64_t id_;
  TestPtr test_;
  Slot& slot_;
  std::optional<TcpStream> traffic_;
};

}  // namespace

ClientRequest parse_client_request(std::string_view text) {
  const Json j = Json::parse(text, nullptr, false);
  if (!j.is_object()) throw std::runtime_error("iperf3 wants a JSON object");
  ClientRequest r;
  const auto address = IpAddr::parse(j.value("server", ""));
  if (!address) throw std::runtime_error("iperf3 wants the address of a server");
  r.server = {*address, j.value("port", std::uint16_t{5201})};
  r.json = j.value("json", false);
  r.verbose = j.value("verbose", false);
  r.cport = j.value("cport", 0U);
  if (j.contains("bind")) {
    const auto bind = IpAddr::parse(j.value("bind", ""));
    if (!bind) throw std::runtime_error("iperf3 wants an address to bind to");
    r.bind = *bind;
  }
  r.interval = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::clamp(j.value("interval", 1.0), 0.0, 60.0)));
  if (r.interval > Duration::zero()) r.interval = std::max<Duration>(r.interval, 100ms);
  const std::string format = j.value("format", "a");
  r.rate_unit = format.size() == 1 && is_rate_unit(format[0]) ? format[0] : 'a';
  r.connect_time = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::clamp(j.value("connect_time", 30.0), 0.001, 600.0)));
  const auto parsed = parse_parameters(j.value("parameters", Json::object()).dump(), 0);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) throw std::runtime_error(refusal->why);
  r.parameters = std::get<Parameters>(parsed);
  if (r.cport > 65535 || r.cport + r.parameters.streams() > 65536)
    throw std::runtime_error("ports beyond 65535");
  r.parameters.client_version = "pollux " POLLUX_VERSION;
  return r;
}

}  // namespace iperf3

using iperf3::ClientRun;

/// A stream of datagrams, before and after the server's greeting.
struct Iperf3ClientService::DatagramStream {
  DatagramStream(Shard& shard, std::uint64_t run, const iperf3::TestPtr& of, iperf3::Slot& slot)
      : id(run), test(of), traffic(shard, of, slot) {}
  std::uint64_t id;
  iperf3::TestPtr test;
  iperf3::UdpStream traffic;
  bool greeted = false;
};

Iperf3ClientService::Iperf3ClientService(const Members& members) : members_(members) {}
Iperf3ClientService::~Iperf3ClientService() = default;

std::size_t Iperf3ClientService::worker() const { return shard().options().worker; }

void Iperf3ClientService::post(std::size_t worker,
                               std::function<void(Iperf3ClientService&)> errand) {
  Iperf3ClientService* const member = members_[worker];
  shard().options().crew->post(worker, [member, errand = std::move(errand)](Shard& there) {
    member->on_listen(there);
    errand(*member);
  });
}

void Iperf3ClientService::tell(std::size_t home, std::uint64_t id,
                               std::function<void(ClientRun&)> errand) {
  post(home, [id, errand = std::move(errand)](Iperf3ClientService& there) {
    const auto at = there.runs_.find(id);
    if (at != there.runs_.end()) errand(*at->second);
  });
}

void Iperf3ClientService::start(std::uint64_t id, iperf3::ClientRequest request) {
  auto run = std::make_unique<ClientRun>(*this, id, std::move(request));
  ClientRun& started = *run;
  runs_.emplace(id, std::move(run));
  started.connect();
}

void Iperf3ClientService::interrupt(std::uint64_t id) {
  const auto at = runs_.find(id);
  if (at != runs_.end()) at->second->interrupt();
}

void Iperf3ClientService::abandon(std::uint64_t id) {
  const auto at = runs_.find(id);
  if (at != runs_.end()) at->second->cancel();
}

void Iperf3ClientService::remove(std::uint64_t id) { runs_.erase(id); }

void Iperf3ClientService::on_drain() {
  for (const auto& [id, run] : runs_) run->fail("the daemon is ending");
}

void Iperf3ClientService::open_stream(std::uint64_t id, const iperf3::TestPtr& test,
                                      iperf3::Slot& slot, const Endpoint& local,
                                      const Endpoint& server) {
  const auto failed = [&] {
    std::string why = "unable to create a new stream";
    if (local.port != 0) why += fmt::format(": port {} is in use", local.port);
    tell(test->home(), id, [why](ClientRun& run) { run.fail(why); });
  };
  if (!test->parameters.udp) {
    const iperf3::Parameters& p = test->parameters;
    ConnEntry* e = shard().connect(shard().now(), local.addr, server, *this,
                                   {.local_port = local.port,
                                    .mss = static_cast<std::uint16_t>(p.mss),
                                    .buffer_limit = p.window});
    if (e == nullptr) return failed();
    Stream s(shard(), *e);
    return s.attach(std::make_unique<iperf3::StreamParty>(*this, id, test, slot));
  }
  const auto flow = shard().open_datagrams(local.addr, server, *this, local.port);
  if (!flow) return failed();
  slot.flow = *flow;
  datagram_streams_[*flow] = std::make_unique<DatagramStream>(shard(), id, test, slot);
  std::array<std::uint8_t, 4> greeting;
  store_be32(greeting.data(), iperf3::kUdpGreeting);
  shard().send_datagram(*flow, greeting);
}

std::optional<DropReason> Iperf3ClientService::on_datagram(const Datagram& d) {
  const auto at = datagram_streams_.find(d.flow);
  if (at == datagram_streams_.end()) return DropReason::udp_ignored;
  DatagramStream& s = *at->second;
  if (s.greeted || d.payload.size() != 4) return s.traffic.on_datagram(d);
  s.greeted = true;
  tell(s.test->home(), s.id, [](ClientRun& run) { run.on_joined(); });
  return std::nullopt;
}

void Iperf3ClientService::close_datagrams(const FlowKey& flow) {
  shard().close_datagrams(flow);
  datagram_streams_.erase(flow);
}

}  // namespace pollux
