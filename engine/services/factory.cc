#include "engine/services/factory.h"

#include <stdexcept>

#include "engine/services/chargen.h"
#include "engine/services/discard.h"
#include "engine/services/echo.h"
#include "engine/services/forward.h"
#include "engine/services/http.h"
#include "engine/services/iperf2.h"
#include "engine/services/iperf3.h"
#include "engine/services/pingpong.h"

namespace pollux {
namespace {

using Services = std::vector<std::unique_ptr<Service>>;

/// Services that share nothing: each worker's is made of the same arguments.
template <class S, class... Args>
Services apart(std::size_t workers, const Args&... args) {
  Services all;
  for (std::size_t i = 0; i < workers; ++i) all.push_back(std::make_unique<S>(args...));
  return all;
}

Iperf2Options iperf2_options(const ServiceConfig& config) {
  return {.udp_reverse = config.iperf2.udp_reverse,
          .max_flows = config.iperf2.max_flows,
          .max_senders = config.iperf2.max_senders,
          .max_duration = config.max_duration};
}

Services make_forward(const ServiceConfig& config, std::size_t workers,
                      std::span<HostPoller* const> hosts) {
  const auto plan = plan_forward(config);
  Services all;
  for (std::size_t i = 0; i < workers; ++i) {
    all.push_back(std::make_unique<ForwardService>(plan, i < hosts.size() ? hosts[i] : nullptr));
  }
  return all;
}

Services make_iperf3(const ServiceConfig& config, std::size_t workers) {
  const iperf3::ServerOptions options{
      .limits = {.max_tests = config.iperf3.max_tests,
                 .max_tests_per_client = config.iperf3.max_tests_per_client,
                 .max_parallel = config.iperf3.max_parallel,
                 .max_duration_s = static_cast<std::uint32_t>(config.max_duration.count())},
      .output = config.iperf3.server_output};
  const auto group = std::make_shared<iperf3::Group>(options);
  Services all;
  for (std::size_t i = 0; i < workers; ++i) {
    auto service = std::make_unique<Iperf3Service>(group);
    group->members.push_back(service.get());
    all.push_back(std::move(service));
  }
  return all;
}

Services make(const ServiceConfig& config, std::size_t workers, std::span<HostPoller* const> hosts,
              const std::shared_ptr<LiveStats>& live) {
  switch (config.kind) {
    case ServiceKind::echo:
      return apart<EchoService>(workers);
    case ServiceKind::discard:
      return apart<DiscardService>(workers);
    case ServiceKind::chargen:
      return apart<ChargenService>(workers);
    case ServiceKind::http:
      return make_http_services(
          {config.root, config.http.listing, config.http.live, config.http.max_connections},
          workers, live);
    case ServiceKind::forward:
      return make_forward(config, workers, hosts);
    case ServiceKind::iperf3:
      return make_iperf3(config, workers);
    case ServiceKind::pingpong:
      return apart<PingPongService>(workers);
    case ServiceKind::iperf2:
      return apart<Iperf2Service>(workers, iperf2_options(config));
    default:
      throw std::logic_error("no service of kind " + std::string(to_string(config.kind)));
  }
}

}  // namespace

Services make_services(const ServiceConfig& config, std::size_t workers,
                       std::span<HostPoller* const> hosts, const std::shared_ptr<LiveStats>& live) {
  Services all = make(config, workers, hosts, live);
  for (const auto& service : all) {
    service->set_congestion_control(config.congestion_control);
    service->set_fast_open(config.fast_open);
  }
  return all;
}

}  // namespace pollux
