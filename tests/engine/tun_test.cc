#include "engine/tun.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>

#include "engine/vnet.h"
#include "proto/wire/checksum.h"
#include "proto/wire/ip.h"
#include "proto/wire/tcp.h"
#include "tests/engine/netns.h"
#include "workers/limits.h"

namespace pollux {
namespace {

using test::TunTest;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const IpAddr kHost4 = IpAddr::v4(0xc6120001);
const IpAddr kEngine4 = IpAddr::v4(0xc6120002);
const IpAddr kHost6 = IpAddr::parse("2001:2::1").value();
const IpAddr kEngine6 = IpAddr::parse("2001:2::2").value();

TunOptions options() {
  TunOptions o;
  o.host_addresses = {{kHost4, 32}, {kHost6, 128}};
  o.routes = {{kEngine4, 32}, {kEngine6, 128}};
  return o;
}

PoolOptions pool_options() {
  PoolOptions o;
  o.slot_size = rx_slot_size(limits::kMaxPacket);
  o.max_slots = 8;
  o.chunk_slots = 4;
  return o;
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  SocketAddress(const IpAddr& a, std::uint16_t port) {
    if (a.is_v4()) {
      auto* in = reinterpret_cast<sockaddr_in*>(&storage);
      in->sin_family = AF_INET;
      in->sin_port = htons(port);
      memcpy(&in->sin_addr, &a.octets()[12], 4);
      size = sizeof *in;
    } else {
      auto* in = reinterpret_cast<sockaddr_in6*>(&storage);
      in->sin6_family = AF_INET6;
      in->sin6_port = htons(port);
      memcpy(&in->sin6_addr, a.octets().data(), 16);
      size = sizeof *in;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Waits for a packet of `protocol`, lets others go. The wait is long and ends at the packet.
std::optional<RxPacket> receive(TunQueue& queue, BufferPool& pool, std::uint8_t protocol) {
  for (;;) {
    RxPacket packet;
    if (queue.receive(pool, packet) == RxResult::packet) {
      const auto ip = wire::parse_ip(packet.bytes(), true);
      const auto* header = std::get_if<wire::IpHeader>(&ip);
      if (header != nullptr && header->protocol == protocol) return packet;
      packet.buffer->refs = 0;
      pool.recycle(packet.buffer);
      continue;
    }
    pollfd waiting{queue.fd(), POLLIN, 0};
    if (poll(&waiting, 1, 5000) != 1) return std::nullopt;
  }
}

wire::IpHeader ip_of(const RxPacket& packet) {
  return std::get<wire::IpHeader>(wire::parse_ip(packet.bytes(), true));
}

Bytes payload_of(const RxPacket& packet) {
  const wire::IpHeader ip = ip_of(packet);
  return packet.bytes().subspan(ip.header_size, ip.payload_size);
}

/// One packet from the engine to the kernel with `transport` as its payload.
struct Outgoing {
  Outgoing(const IpAddr& src, const IpAddr& dst, std::uint8_t protocol, Bytes transport,
           std::size_t checksum_offset, bool partial) {
    wire::IpHeader ip;
    ip.src = src;
    ip.dst = dst;
    ip.protocol = protocol;
    octets.resize(wire::ip_header_size(dst.is_v4()));
    wire::emit_ip(ip, transport.size(), octets);
    packet.checksum_start = static_cast<std::uint16_t>(octets.size());
    octets.insert(octets.end(), transport.begin(), transport.end());
    packet.checksum_offset = static_cast<std::uint16_t>(checksum_offset);
    packet.header_size = static_cast<std::uint16_t>(packet.checksum_start + 8);
    packet.partial_checksum = partial;
    packet.v4 = dst.is_v4();
    wire::ChecksumSum sum;
    if (protocol != wire::kProtoIcmp) {
      wire::add_pseudo_header(sum, src, dst, protocol,
                              static_cast<std::uint32_t>(transport.size()));
    }
    if (!partial) sum.add(transport);
    store_be16(&octets[packet.checksum_start + checksum_offset],
               partial ? sum.fold() : sum.checksum());
  }
  bool send(TxPort& port) {
    const Bytes part(octets);
    packet.parts = {&part, 1};
    return port.transmit(packet);
  }
  std::vector<std::uint8_t> octets;
  TxPacket packet;
};

TEST_F(TunTest, AKernelDatagramComesOutOfReceive) {
  TunDevice device(options());
  EXPECT_THAT(device.warnings(), IsEmpty());
  EXPECT_TRUE(device.caps().checksum);
  EXPECT_TRUE(device.caps().segmentation);
  BufferPool pool(pool_options());
  for (const IpAddr& to : {kEngine4, kEngine6}) {
    OwnedFd fd(socket(to.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM, 0));
    const SocketAddress address(to, 7);
    ASSERT_EQ(sendto(fd.get(), "hello", 5, 0, address.get(), address.size), 5);
    const auto packet = receive(device.queue(0), pool, wire::kProtoUdp);
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->offset, 12);
    EXPECT_EQ(packet->segment_size, 0);
    EXPECT_EQ(packet->checksum, ChecksumState::trusted);
    EXPECT_EQ(packet->buffer->refs, 1U);
    EXPECT_EQ(ip_of(*packet).dst, to);
    EXPECT_EQ(packet->length, wire::ip_header_size(to.is_v4()) + 8 + 5);
    const Bytes data = payload_of(*packet).subspan(8);
    EXPECT_EQ(std::string(data.begin(), data.end()), "hello");
  }
}

TEST_F(TunTest, NothingThereIsEmptyAndTakesNoBuffer) {
  TunOptions o = options();
  o.host_addresses.pop_back();  // no IPv6, so no multicast reports either
  o.routes.pop_back();
  TunDevice device(o);
  BufferPool pool(pool_options());
  RxPacket packet;
  while (device.queue(0).receive(pool, packet) == RxResult::packet) {
    packet.buffer->refs = 0;
    pool.recycle(packet.buffer);
  }
  EXPECT_EQ(device.queue(0).receive(pool, packet), RxResult::empty);
  EXPECT_EQ(pool.in_use(), 0U);
}

TEST_F(TunTest, APacketWithoutABufferIsTakenAndGone) {
  TunDevice device(options());
  PoolOptions one = pool_options();
  one.max_slots = one.chunk_slots = 1;
  BufferPool pool(one);
  OwnedFd fd(socket(AF_INET, SOCK_DGRAM, 0));
  const SocketAddress address(kEngine4, 7);
  for (const char* text : {"1", "2", "3"})
    sendto(fd.get(), text, 1, 0, address.get(), address.size);
  const auto first = receive(device.queue(0), pool, wire::kProtoUdp);
  ASSERT_TRUE(first);
  RxPacket none;
  EXPECT_EQ(device.queue(0).receive(pool, none), RxResult::no_buffer);
  first->buffer->refs = 0;
  pool.recycle(first->buffer);
  const auto third = receive(device.queue(0), pool, wire::kProtoUdp);
  ASSERT_TRUE(third);
  EXPECT_EQ(payload_of(*third)[8], '3');
}

TEST_F(TunTest, ATransmittedEchoIsAnswered) {
  TunDevice device(options());
  BufferPool pool(pool_options());
  std::vector<std::uint8_t> request{8, 0, 0, 0, 0x12, 0x34, 0, 1, 'a', 'b', 'c'};
  ASSERT_TRUE(
      Outgoing(kEngine4, kHost4, wire::kProtoIcmp, request, 2, false).send(device.queue(0)));
  const auto reply = receive(device.queue(0), pool, wire::kProtoIcmp);
  ASSERT_TRUE(reply);
  EXPECT_EQ(payload_of(*reply)[0], 0);
  EXPECT_TRUE(std::ranges::equal(payload_of(*reply).subspan(4), Bytes(request).subspan(4)));

  request[0] = 128;
  ASSERT_TRUE(
      Outgoing(kEngine6, kHost6, wire::kProtoIcmpV6, request, 2, false).send(device.queue(0)));
  for (;;) {  // the kernel's own multicast reports come between
    const auto reply6 = receive(device.queue(0), pool, wire::kProtoIcmpV6);
    ASSERT_TRUE(reply6);
    if (payload_of(*reply6)[0] == 129) break;
  }
}

TEST_F(TunTest, AFullOrAPartialChecksumReachesAKernelSocket) {
  TunDevice device(options());
  OwnedFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  const SocketAddress address(kHost4, 9000);
  ASSERT_EQ(bind(fd.get(), address.get(), address.size), 0);
  const std::vector<std::uint8_t> datagram{0, 7, 0x23, 0x28, 0, 10, 0, 0, 'h', 'i'};
  for (const bool partial : {false, true}) {
    Outgoing out(kEngine4, kHost4, wire::kProtoUdp, datagram, 6, partial);
    ASSERT_TRUE(out.send(device.queue(0)));
    char data[8];
    EXPECT_EQ(recv(fd.get(), data, sizeof data, 0), 2) << "partial " << partial;
    // The kernel verifies what does not say that it is partial.
    out.octets.back() ^= 1;
    ASSERT_TRUE(out.send(device.queue(0)));
    EXPECT_EQ(recv(fd.get(), data, sizeof data, 0), partial ? 2 : -1);
  }
}

/// A kernel connection to the engine's end, played by hand.
class Peer {
 public:
  Peer(TunQueue& queue, BufferPool& pool, bool v4)
      : queue_(queue), pool_(pool), host_(v4 ? kHost4 : kHost6), engine_(v4 ? kEngine4 : kEngine6) {
    fd_ = OwnedFd(socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0));
    const SocketAddress address(engine_, 80);
    connect(fd_.get(), address.get(), address.size);
    const auto syn = receive(queue_, pool_, wire::kProtoTcp);
    if (!syn) return;
    wire::TcpHeader header;
    wire::parse_tcp(payload_of(*syn), header);
    release(*syn);
    host_port_ = header.src_port;
    ack_ = header.seq + 1;
    wire::TcpHeader answer;
    answer.flags = wire::tcp_flag::syn | wire::tcp_flag::ack;
    answer.options.mss = std::uint16_t{1400};
    connected_ = send(answer, {}, 0);
    seq_ += 1;
  }
  bool connected() const { return connected_; }
  int fd() const { return fd_.get(); }
  Seq ack() const { return ack_; }
  void release(const RxPacket& packet) {
    packet.buffer->refs = 0;
    pool_.recycle(packet.buffer);
  }

  bool send(wire::TcpHeader header, Bytes payload, std::uint16_t segment_size) {
    header.src_port = 80;
    header.dst_port = host_port_;
    header.seq = seq_;
    header.ack = ack_;
    header.window = 65535;
    std::vector<std::uint8_t> tcp(wire::kTcpMaxHeaderSize);
    tcp.resize(wire::emit_tcp(header, tcp));
    const std::size_t tcp_size = tcp.size();
    tcp.insert(tcp.end(), payload.begin(), payload.end());
    Outgoing out(engine_, host_, wire::kProtoTcp, tcp, wire::kTcpChecksumOffset, true);
    out.packet.header_size = static_cast<std::uint16_t>(out.packet.checksum_start + tcp_size);
    out.packet.segment_size = segment_size;
    // As a worker sends: headers in one place, payload in others.
    const Bytes all(out.octets);
    const std::size_t half = out.packet.header_size + payload.size() / 2;
    const std::array<Bytes, 3> parts{all.first(out.packet.header_size),
                                     all.subspan(out.packet.header_size, payload.size() / 2),
                                     all.subspan(half)};
    out.packet.parts = parts;
    return queue_.transmit(out.packet);
  }

 private:
  TunQueue& queue_;
  BufferPool& pool_;
  IpAddr host_;
  IpAddr engine_;
  OwnedFd fd_;
  std::uint16_t host_port_ = 0;
  Seq seq_{1000};
  Seq ack_;
  bool connected_ = false;
};

class Super : public TunTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Families, Super, testing::Bool(),
                         [](const auto& family) { return family.param ? "Ipv4" : "Ipv6"; });

TEST_P(Super, PacketsGoBothWays) {
  TunDevice device(options());
  BufferPool pool(pool_options());
  Peer peer(device.queue(0), pool, GetParam());
  ASSERT_TRUE(peer.connected());

  const std::vector<std::uint8_t> upload(8 * 1400, 'u');
  ASSERT_EQ(write(peer.fd(), upload.data(), upload.size()), std::ssize(upload));
  std::size_t largest = 0;
  for (std::size_t got = 0; got < upload.size();) {
    const auto packet = receive(device.queue(0), pool, wire::kProtoTcp);
    ASSERT_TRUE(packet);
    wire::TcpHeader header;
    const std::size_t size = wire::parse_tcp(payload_of(*packet), header);
    const std::size_t data = payload_of(*packet).size() - size;
    EXPECT_EQ(packet->checksum, ChecksumState::trusted);
    EXPECT_EQ(packet->segment_size, data > 1400 ? 1400 : 0);
    largest = std::max(largest, data);
    got += data;
    peer.release(*packet);
  }
  EXPECT_GT(largest, 1400U);

  std::vector<std::uint8_t> download(3 * 1400 + 10);
  std::iota(download.begin(), download.end(), std::uint8_t{0});
  wire::TcpHeader header;
  header.flags = wire::tcp_flag::ack;
  ASSERT_TRUE(peer.send(header, download, 1400));
  std::vector<std::uint8_t> got(download.size() + 1);
  EXPECT_EQ(recv(peer.fd(), got.data(), got.size(), 0), std::ssize(download));
  got.pop_back();
  EXPECT_EQ(got, download);
}

TEST_F(TunTest, WithoutOffloadNothingIsPartialAndNothingIsLarge) {
  TunOptions o = options();
  o.offload = false;
  TunDevice device(o);
  EXPECT_FALSE(device.caps().checksum);
  EXPECT_FALSE(device.caps().segmentation);
  EXPECT_EQ(device.largest_packet(), 1500U);
  BufferPool pool(pool_options());
  OwnedFd fd(socket(AF_INET, SOCK_DGRAM, 0));
  const SocketAddress address(kEngine4, 7);
  ASSERT_EQ(sendto(fd.get(), "hello", 5, 0, address.get(), address.size), 5);
  const auto packet = receive(device.queue(0), pool, wire::kProtoUdp);
  ASSERT_TRUE(packet);
  wire::ChecksumSum sum;
  wire::add_pseudo_header(sum, kHost4, kEngine4, wire::kProtoUdp, 13);
  sum.add(payload_of(*packet));
  EXPECT_EQ(sum.checksum(), 0);
}

TEST_F(TunTest, AllQueuesAreOfOneDevice) {
  TunOptions o = options();
  o.name = "many%d";
  o.queues = 3;
  TunDevice device(o);
  EXPECT_EQ(device.name(), "many0");
  EXPECT_EQ(device.queues(), 3U);
  EXPECT_NE(if_nametoindex("many0"), 0U);
  EXPECT_EQ(if_nametoindex("many1"), 0U);
  // A flow comes back on the queue that wrote it last (tun_flow_update).
  BufferPool pool(pool_options());
  const std::vector<std::uint8_t> request{8, 0, 0, 0, 0x12, 0x34, 0, 1};
  for (unsigned i : {2U, 0U, 1U}) {
    EXPECT_TRUE(
        Outgoing(kEngine4, kHost4, wire::kProtoIcmp, request, 2, false).send(device.queue(i)));
  }
}

std::string error_of(const TunOptions& o) {
  try {
    TunDevice device(o);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}

TEST_F(TunTest, TheInterfaceGoesWithTheDevice) {
  { TunDevice device(options()); }
  EXPECT_EQ(if_nametoindex("pollux0"), 0U);
}

TEST_F(TunTest, ANameInUseIsRefused) {
  TunDevice device(options());
  EXPECT_EQ(error_of(options()),
            "cannot create TUN device pollux0: the name is in use (device or resource busy); "
            "choose another tun.name");
  TunOptions o = options();
  o.name = "lo";
  EXPECT_EQ(error_of(o),
            "cannot create TUN device lo: interface lo exists and is not a multi-queue TUN device");
}

TEST_F(TunTest, ABadNameOrCountIsRefused) {
  TunOptions o = options();
  o.name = "much-too-long-name";
  EXPECT_THAT(error_of(o), HasSubstr("a name has 1 to 15 characters"));
  o.name = "a/b";
  EXPECT_THAT(error_of(o), HasSubstr("cannot create TUN device a/b: the kernel does not take"));
  o = options();
  o.queues = 0;
  EXPECT_THAT(error_of(o), HasSubstr("1 to 256 queues"));
}

TEST_F(TunTest, UnmanagedMeansThatTheInterfaceIsThere) {
  TunOptions o = options();
  o.manage = false;
  EXPECT_EQ(error_of(o),
            "cannot create TUN device pollux0: tun.manage is false and there is no such interface");
  o.manage = true;
  TunDevice owner(o);
  o.manage = false;
  o.mtu = 576;
  TunDevice guest(o);
  EXPECT_EQ(guest.caps().mtu, 1500U);
  EXPECT_THAT(guest.warnings(), IsEmpty());
}

/// Takes a capability from the calling thread.
void drop_net_admin() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  ASSERT_EQ(syscall(SYS_capget, &header, data), 0);
  data[0].effective &= ~(1U << CAP_NET_ADMIN);
  ASSERT_EQ(syscall(SYS_capset, &header, data), 0);
}

TEST_F(TunTest, WithoutPermissionItSaysWhatWouldHelp) {
  std::string error;
  std::thread([&] {
    drop_net_admin();
    error = error_of(options());
  }).join();
  EXPECT_EQ(error,
            "cannot create TUN device pollux0: operation not permitted; run as root or grant "
            "CAP_NET_ADMIN");
}

TEST_F(TunTest, APacketWithTooManyPartsIsRefused) {
  TunDevice device(options());
  const std::vector<std::uint8_t> octet(1);
  const std::vector<Bytes> parts(limits::kTxParts + 1, Bytes(octet));
  TxPacket packet;
  EXPECT_FALSE(device.queue(0).transmit(packet));
  packet.parts = parts;
  EXPECT_FALSE(device.queue(0).transmit(packet));
}

}  // namespace
}  // namespace pollux
