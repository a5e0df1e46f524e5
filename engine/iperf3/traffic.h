// The traffic of one stream on its worker, TCP or UDP, sending or receiving; the same for a server
// and a client.
#pragma once

#include <vector>

#include "engine/iperf3/test.h"
#include "workers/shard.h"

namespace pollux::iperf3 {

/// How much of a rate is due: whole blocks, as many as keep the average since the start.
class Pacer {
 public:
  /// `rate` in bits a second, 0: any. `quota`: octets after which it is over, 0: none.
  Pacer(std::uint64_t rate, std::uint32_t block, std::uint32_t burst, std::uint64_t quota)
      : rate_(rate), block_(block), burst_(burst), quota_(quota) {}
  void start(Instant now) { start_ = now; }
  /// Octets that may be sent at `now`: some blocks, or less at the end of the quota.
  std::uint64_t due(Instant now) const;
  void sent(std::uint64_t octets) { sent_ += octets; }
  bool over() const { return quota_ != 0 && sent_ >= quota_; }
  /// Another quota, from the start; 0: none.
  void set_quota(std::uint64_t octets) { quota_ = octets; }
  bool paced() const { return rate_ != 0; }
  /// When something is due again.
  Instant next() const;

 private:
  std::uint64_t rate_;
  std::uint64_t block_;
  std::uint64_t burst_;
  std::uint64_t quota_;
  std::uint64_t sent_ = 0;
  Instant start_{};
};

/// Octets after which a test ends, in one direction; 0: it ends by time.
std::uint64_t octets_of(const Parameters& p);
/// What one stream sends of them; 0: as much as it can.
std::uint64_t share_of(const Parameters& p);

class TcpStream final : public DataStream {
 public:
  /// `written`: octets that we sent on it before the test's own.
  TcpStream(Shard& shard, Stream stream, TestPtr test, Slot& slot, std::uint64_t written);
  ~TcpStream();
  void start() override;
  void publish() override;
  void end_omission() override;
  void finish() override;
  void abort() override;
  /// Of the service that owns the connection.
  void on_readable();
  void on_writable() { pump(); }

 private:
  void pump();

  Shard& shard_;
  Stream stream_;
  TestPtr test_;
  Slot& slot_;
  Pacer pacer_;
  std::uint64_t due_ = 0;  ///< octets of a burst that are still to be written
  std::uint64_t written_before_;
  TaskTimer timer_;
  bool started_ = false;  ///< the test may run before this stream's worker is told
};

class UdpStream final : public DataStream {
 public:
  UdpStream(Shard& shard, TestPtr test, Slot& slot);
  ~UdpStream();
  void start() override;
  void publish() override {}
  void end_omission() override;
  void finish() override;
  void abort() override { finish(); }
  const Test& test() const { return *test_; }
  std::optional<DropReason> on_datagram(const Datagram& d);

 private:
  void pump(Instant now);
  void send(std::size_t datagrams);
  void count(Bytes datagram, Instant at);

  Shard& shard_;
  TestPtr test_;
  Slot& slot_;
  Pacer pacer_;
  TaskTimer timer_;
  std::vector<std::uint8_t> out_;  ///< datagrams end to end, as a super-datagram takes them
  double transit_s_ = 0;           ///< of the last datagram, by two clocks
  double jitter_s_ = 0;
  bool timed_ = false;
};

}  // namespace pollux::iperf3
