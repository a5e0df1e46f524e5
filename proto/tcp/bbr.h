// BBR (draft-ietf-ccwg-bbr, "BBRv3"): congestion control by a model of the path, made of its
// bandwidth (how fast it delivers), its round trip time (without queues) and what it holds before
// it loses. Names are the draft's. Octets and octets per second; integer arithmetic only.
#pragma once

#include <cstdint>

#include "proto/base/time.h"
#include "proto/tcp/ack_event.h"

namespace pollux::tcp {

class Bbr {
 public:
  ///         startup -> drain -> down -> cruise -> refill -> up -> down ...   (any) -> probe_rtt
  enum class State : std::uint8_t { startup, drain, down, cruise, refill, up, probe_rtt };

  explicit Bbr(std::uint32_t mss = 536);
  void on_ack(const AckEvent& e);
  void on_loss(Instant now, std::uint32_t in_flight);  ///< fast recovery begins
  void on_rto(Instant now, std::uint32_t in_flight);   ///< cwnd = 1 MSS until the next ACK
  void on_idle(Duration idle, Duration rto);           ///< nothing is in flight, sending resumes
  void undo();  ///< what seemed lost since recovery began was not
  std::uint32_t cwnd() const { return cwnd_; }
  std::uint32_t ssthresh() const { return UINT32_MAX; }  ///< not used
  void set_mss(std::uint32_t mss);
  std::uint64_t pacing_rate() const { return pacing_rate_; }  ///< octets per second, never zero

  State state() const { return state_; }
  std::uint64_t bandwidth() const;               ///< octets per second; zero: no sample yet
  Duration min_rtt() const { return min_rtt_; }  ///< Duration::max(): no sample yet
  std::uint32_t send_quantum() const;            ///< octets to send at once

 private:
  /// What one acknowledgement says, with the two round trip counts brought up to date.
  struct Sample {
    Instant now;
    RateSample rs;
    std::uint64_t rate = 0;  ///< octets per second, zero: none
    std::uint32_t pipe = 0;
    std::uint32_t acked = 0;
    bool app_limited = false;
    bool cwnd_limited = false;
    bool queue = false;  ///< the round trip is an eighth above its minimum
    bool round_start = false;
    bool loss_round_start = false;
  };
  /// What comes back from the path after the probe for bandwidth that sent it.
  enum class AckPhase : std::uint8_t { init, refilling, starting, feedback, stopping };

  void begin(const AckEvent& e);
  Sample take(const AckEvent& e);
  void update_model(Sample& s, const AckEvent& e);
  // the model: bandwidth, volume, aggregation, round trip time
  void update_latest(Sample& s);
  void update_max_bw(const Sample& s);
  void advance_max_bw();
  std::uint64_t max_bw() const;
  void update_aggregation(const Sample& s);
  bool update_min_rtt(Instant now, Duration rtt);
  void lower_short_term();
  void reset_short_term();
  void note_loss();
  // the states
  void check_full_bandwidth(const Sample& s);
  void reset_full_bandwidth(std::uint64_t baseline);
  void check_startup_loss(const Sample& s, const AckEvent& e);
  void enter_drain();
  void check_drain_done(const Sample& s);
  void update_cycle(const Sample& s);
  bool adapt_long_term(const Sample& s);
  void on_inflight_too_high(const Sample& s);
  void probe_long_term_upward(const Sample& s);
  void raise_slope();
  bool time_to_probe(const Sample& s) const;
  bool time_to_cruise(const Sample& s) const;
  bool time_to_go_down(const Sample& s);
  void start_down(Instant now);
  void start_refill();
  void start_up(const Sample& s);
  void check_probe_rtt(const Sample& s, bool expired);
  void exit_probe_rtt(Instant now);
  void start_round() { next_round_delivered_ = delivered_; }
  bool in_probe_bw() const { return state_ >= State::down && state_ <= State::up; }
  bool is_probing() const;
  bool too_much_lost(const Sample& s) const;
  // the controls
  void set_pacing_rate(unsigned gain);
  void grow_cwnd(std::uint32_t acked);
  void bound_cwnd();
  void follow_recovery(const AckEvent& e);
  void save_cwnd();
  void save_state();
  std::uint32_t min_pipe() const { return 4 * mss_; }
  std::uint32_t bdp(std::uint64_t bandwidth, unsigned gain) const;
  std::uint32_t with_offload_budget(std::uint64_t octets) const;
  std::uint32_t inflight(std::uint64_t bandwidth) const;
  std::uint32_t inflight_with_headroom() const;
  std::uint32_t probe_rtt_cwnd() const;

  static constexpr std::uint32_t kNoBound = UINT32_MAX;
  static constexpr std::uint64_t kNoLimit = UINT64_MAX;

  std::uint64_t delivered_ = 0;
  std::uint64_t next_round_delivered_ = 0;
  std::uint64_t loss_round_delivered_ = 0;
  std::uint64_t probe_rtt_delivered_ = 0;  ///< what was sent before this was delivered measures us
  std::uint64_t pacing_rate_;
  std::uint64_t max_bw_[2] = {0, 0};  ///< of the probing cycle before, and of this one
  std::uint64_t full_bw_ = 0;
  std::uint64_t bw_latest_ = 0;
  std::uint64_t bw_shortterm_ = kNoLimit;
  std::uint64_t undo_bw_shortterm_ = kNoLimit;
  Duration min_rtt_ = Duration::max();
  Duration latest_rtt_{};
  Duration probe_rtt_min_delay_ = Duration::max();
  Instant min_rtt_stamp_{};
  Instant probe_rtt_min_stamp_{};
  Instant
      probe_rtt_held_since_{};  ///< in flight is what ProbeRTT wants; counts with probe_rtt_held_
  Instant cycle_stamp_{};
  Instant extra_acked_stamp_{};
  std::uint32_t mss_;
  std::uint32_t cwnd_;
  std::uint32_t prior_cwnd_ = 0;
  std::uint32_t inflight_latest_ = 0;
  std::uint32_t inflight_shortterm_ = kNoBound;
  std::uint32_t inflight_longterm_ = kNoBound;
  std::uint32_t undo_inflight_shortterm_ = kNoBound;
  std::uint32_t undo_inflight_longterm_ = kNoBound;
  std::uint32_t extra_acked_delivered_ = 0;
  std::uint32_t extra_acked_[2] = {0, 0};  ///< maxima of the window before, and of this one
  std::uint32_t probe_up_per_increment_ = kNoBound;
  std::uint32_t probe_up_acked_ = 0;
  std::uint16_t probe_wait_ms_ = 0;
  std::uint8_t rounds_since_probe_ = 0;
  std::uint8_t extra_acked_rounds_ = 0;
  std::uint8_t drain_rounds_ = 0;
  std::uint8_t full_bw_rounds_ = 0;
  std::uint8_t probe_up_rounds_ = 0;
  std::uint8_t loss_events_ = 0;  ///< ACKs of this round that marked something lost
  State state_ = State::startup;
  State undo_state_ = State::cruise;  ///< startup or up: where the losses drove us from
  AckPhase ack_phase_ = AckPhase::init;
  bool begun_ = false;
  bool full_bw_reached_ = false, full_bw_now_ = false;
  bool loss_in_round_ = false;
  bool probe_sample_ = false;
  bool probe_too_high_ = false, probe_precautionary_ = false;
  bool probe_rtt_held_ = false, probe_rtt_round_done_ = false;
  bool idle_restart_ = false;
  bool in_recovery_ = false;
  bool saved_ = false;     ///< the state before this loss episode is kept
  bool can_undo_ = false;  ///< and undo() may bring it back
};

}  // namespace pollux::tcp
