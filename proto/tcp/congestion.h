// Congestion control: a closed set behind one small interface, no virtual call. Octets
// everywhere; integer arithmetic only. It owns cwnd and ssthresh and never points back at the
// connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "proto/base/lazy.h"
#include "proto/base/time.h"
#include "proto/tcp/ack_event.h"
#include "proto/tcp/bbr.h"

namespace pollux::tcp {

enum class CcKind : std::uint8_t { reno, cubic, bbr };
std::string_view to_string(CcKind k);
/// The other way round; nullopt for a name that is none.
std::optional<CcKind> parse_cc(std::string_view name);

inline constexpr std::uint64_t kUnpaced = UINT64_MAX;
/// RFC 5681 slow start and congestion avoidance with byte counting (RFC 3465). Growth counts
/// octets, never ACKs, so dividing ACKs gains nothing; the limit L is taken per acknowledged
/// segment, because one ACK of ours answers a super-packet of up to 64 KB: an ACK of n segments
/// grows cwnd by at most n MSS, never by more than the octets it acknowledges, and never by more
/// than cwnd, since what lies beyond was not sent by this window (the case for which RFC 3465 2.3
/// asks for L = 1).
class Reno {
 public:
  explicit Reno(std::uint32_t mss);
  void on_ack(const AckEvent& e);
  void on_loss(Instant now, std::uint32_t in_flight);  ///< enters recovery: once per window
  void on_rto(Instant now, std::uint32_t in_flight);   ///< (RFC 5681 (4)): cwnd = 1 MSS
  void on_idle(Duration idle, Duration rto);           ///< restart window (RFC 5681 4.1)
  void undo();  ///< the last on_loss() or on_rto() was spurious (RFC 4015)
  std::uint32_t pacing_percent() const { return cwnd_ < ssthresh_ / 2 ? 200 : 120; }
  std::uint32_t cwnd() const { return cwnd_; }
  std::uint32_t ssthresh() const { return ssthresh_; }
  void set_mss(std::uint32_t mss);

 private:
  std::uint32_t mss_;
  std::uint32_t cwnd_;
  std::uint32_t ssthresh_ = UINT32_MAX;
  std::uint32_t acked_ = 0;       ///< octets toward the next increase in congestion avoidance
  bool timed_out_ = false;        ///< an RTO fired and nothing was acknowledged since
  std::uint32_t prior_cwnd_ = 0;  ///< before the last reduction, for undo(); 0: nothing to undo
  std::uint32_t prior_ssthresh_ = 0;
};

/// RFC 9438 with HyStart++ (RFC 9406) in slow start. Fast convergence, the Reno-friendly region,
/// C = 0.4, beta = 0.7; integer arithmetic (cube root by Newton's method on 64-bit integers).
class Cubic {
 public:
  explicit Cubic(std::uint32_t mss);
  void on_ack(const AckEvent& e);
  void on_loss(Instant now, std::uint32_t in_flight);
  void on_rto(Instant now, std::uint32_t in_flight);
  void on_idle(Duration idle, Duration rto);
  void undo();  ///< RFC 9438 4.9
  std::uint32_t pacing_percent() const;
  std::uint32_t cwnd() const { return cwnd_; }
  std::uint32_t ssthresh() const { return ssthresh_; }
  void set_mss(std::uint32_t mss);
  std::size_t bookkeeping() const { return avoidance_.bookkeeping(); }  ///< octets

 private:
  void slow_start(const AckEvent& e);
  void avoid(const AckEvent& e);
  bool hystart_round(const AckEvent& e);
  bool judge_delay(std::uint32_t now_us);
  bool end_slow_start();
  void count_time(const AckEvent& e);
  void begin_epoch();
  void grow_reno_estimate(std::uint32_t acked);
  std::uint32_t curve(Duration ahead) const;
  void reduce(std::uint32_t in_flight);
  std::uint32_t mss_;
  std::uint32_t cwnd_;
  std::uint32_t ssthresh_ = UINT32_MAX;
  /// The congestion avoidance period.
  struct Epoch {
    std::uint32_t w_max = 0;       ///< octets
    std::uint32_t w_est = 0;       ///< octets, the Reno-friendly estimate
    std::uint32_t k_ms = 0;        ///< K of RFC 9438 4.2, milliseconds
    std::uint32_t cwnd_prior = 0;  ///< octets, cwnd when it was last reduced
    std::uint64_t t_ns = 0;  ///< t of the curve: time of this period in which cwnd was the limit
    bool begun = false;
  };
  /// What there is only after the first slow start.
  struct Avoidance {
    Epoch epoch;
    std::uint64_t est_credit = 0;  ///< seventeenths of acknowledged octets toward w_est
    /// Before the last reduction, for undo(); cwnd 0: nothing to undo.
    struct {
      std::uint32_t cwnd = 0;
      std::uint32_t ssthresh = 0;
      Epoch epoch;
    } prior;
  };
  const Epoch& epoch() const { return avoidance_->epoch; }
  void end_epoch() {
    if (epoch().begun) avoidance_.own().epoch.begun = false;
  }
  Lazy<Avoidance> avoidance_;
  std::uint64_t credit_ = 0;  ///< what earlier increases left over, see each use
  Instant last_ack_{};
  bool idle_ = false;       ///< nothing was outstanding since last_ack_
  bool timed_out_ = false;  ///< an RTO fired and nothing was acknowledged since
  // HyStart++ (RFC 9406 4.2); RTTs in microseconds
  std::uint32_t last_round_min_us_ = UINT32_MAX;
  std::uint32_t round_min_us_ = UINT32_MAX;
  std::uint32_t recent_min_us_ = UINT32_MAX;
  std::uint32_t css_base_us_ = 0;   ///< last_round_min_us_ when CSS began
  std::uint32_t css_entry_us_ = 0;  ///< cssBaselineMinRtt
  std::uint8_t recent_samples_ = 0;
  std::uint8_t css_rounds_ = 0;
  bool css_ = false;
};

class CongestionControl {
  // BBR's model is large: on the heap, a connection that does without it is smaller.
  static const Bbr& state(const Lazy<Bbr>& c) { return *c; }
  static Bbr& state(Lazy<Bbr>& c) { return c.own(); }
  template <class T>
  static T& state(T& c) {
    return c;
  }
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit([&](const auto& c) { return f(state(c)); }, v_);
  }
  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit([&](auto& c) { return f(state(c)); }, v_);
  }

 public:
  CongestionControl(CcKind kind, std::uint32_t mss);
  void on_ack(const AckEvent& e) {
    visit([&](auto& c) { c.on_ack(e); });
  }
  void on_loss(Instant now, std::uint32_t in_flight) {
    visit([&](auto& c) { c.on_loss(now, in_flight); });
  }
  void on_rto(Instant now, std::uint32_t in_flight) {
    visit([&](auto& c) { c.on_rto(now, in_flight); });
  }
  void on_idle(Duration idle, Duration rto) {
    visit([&](auto& c) { c.on_idle(idle, rto); });
  }
  /// Takes the last reduction back: what seemed lost had only been late.
  void undo() {
    visit([](auto& c) { c.undo(); });
  }
  void set_mss(std::uint32_t mss) {
    visit([&](auto& c) { c.set_mss(mss); });
  }
  std::uint32_t cwnd() const {
    return visit([](auto& c) { return c.cwnd(); });
  }
  std::uint32_t ssthresh() const {
    return visit([](auto& c) { return c.ssthresh(); });
  }
  /// Octets per second at which to send; kUnpaced when it does not matter. `srtt` zero: not known.
  std::uint64_t pacing_rate(Duration srtt) const;
  /// The algorithm sets cwnd through a recovery itself; else PRR does (RFC 6937).
  bool drives_recovery() const { return std::holds_alternative<Lazy<Bbr>>(v_); }
  CcKind kind() const { return static_cast<CcKind>(v_.index()); }
  /// Octets that it takes beside itself.
  std::size_t bookkeeping() const {
    if (const auto* cubic = std::get_if<Cubic>(&v_)) return cubic->bookkeeping();
    return drives_recovery() ? sizeof(Bbr) : 0;
  }

 private:
  std::variant<Reno, Cubic, Lazy<Bbr>> v_;  ///< in the order of CcKind
};

}  // namespace pollux::tcp
