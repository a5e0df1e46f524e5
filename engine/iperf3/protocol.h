// The wire protocol of iperf3: states, cookies, and the two JSON messages. Octets and values only;
// who says what when is in server.h and client.h.
//
//   control connection:  cookie, then single octets (State) and JSON behind a 32-bit length
//   data, TCP:           cookie, then anything
//   data, UDP:           a greeting each way, then datagrams with a time stamp and a number
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/time.h"

namespace pollux::iperf3 {

/// What one end tells the other on the control connection: one octet.
enum class State : std::int8_t {
  test_start = 1,
  test_running = 2,
  test_end = 4,
  param_exchange = 9,
  create_streams = 10,
  server_terminate = 11,
  client_terminate = 12,
  exchange_results = 13,
  display_results = 14,
  iperf_done = 16,
  access_denied = -1,
  server_error = -2,  ///< two 32-bit numbers follow: ErrorCode and errno
};

/// The numbers of iperf_api.h that a client has a text for.
enum class ErrorCode : std::int32_t {
  duration = 5,         ///< test duration too long
  streams = 6,          ///< too many parallel streams
  block_size = 7,       ///< block size too large
  omit = 12,            ///< bogus value for --omit
  unimplemented = 13,   ///< an option that is not there
  burst = 15,           ///< invalid burst count
  no_sctp = 18,         ///< no SCTP
  udp_block_size = 20,  ///< block size invalid for UDP
  bad_tos = 21,         ///< bad TOS value
  receive_cookie = 106,
  stream_connect = 203,  ///< unable to connect stream
  receive_parameters = 114,
  receive_results = 117,
  client_terminated = 119,
  server_terminated = 120,
  access_denied = 121,
  no_message = 144,        ///< idle for too long
  duration_expired = 160,  ///< longer than the server allows
};

inline constexpr std::size_t kMaxParameters = 8 << 10;  ///< octets of the parameters' JSON
inline constexpr std::size_t kMaxResults = 1 << 20;     ///< octets of the results' JSON
inline constexpr unsigned kMaxParallel = 128;           ///< MAX_STREAMS
inline constexpr std::uint32_t kMaxBlock = 1 << 20;     ///< octets, TCP
inline constexpr std::uint32_t kDefaultBlock = 128 << 10;
inline constexpr std::uint32_t kMinUdpBlock = 16;  ///< its head
inline constexpr std::uint32_t kMaxUdpBlock = 65507;
inline constexpr std::uint64_t kDefaultUdpRate = 1 << 20;  ///< bits a second, of clients
inline constexpr std::uint32_t kUdpGreeting = 0x39383736;  ///< "9876" as the clients write it
inline constexpr std::uint32_t kUdpAnswer = 0x36373839;

/// Names a test: 36 characters of a-z and 2-7, and a NUL.
class Cookie {
 public:
  static constexpr std::size_t kSize = 37;
  /// nullopt when it is none. Looks at the first kSize octets, which must be there.
  static std::optional<Cookie> parse(Bytes octets);
  /// Made of 36 octets of entropy.
  static Cookie make(const std::array<std::uint8_t, kSize - 1>& entropy);
  Bytes octets() const;
  std::string_view text() const { return {text_.data(), kSize - 1}; }
  bool operator==(const Cookie&) const = default;

 private:
  std::array<char, kSize> text_{};
};

/// What a client wants, with the defaults of what it leaves out.
struct Parameters {
  bool udp = false;
  std::uint32_t omit_s = 0;
  std::uint32_t time_s = 0;  ///< 0: until `bytes` or `blocks` are through
  std::uint64_t bytes = 0;   ///< 0: no such end
  std::uint64_t blocks = 0;  ///< 0: no such end
  std::uint32_t mss = 0;     ///< 0: whatever there is
  bool nodelay = false;
  unsigned parallel = 1;       ///< streams in each direction
  bool reverse = false;        ///< the server sends
  bool bidirectional = false;  ///< both send
  std::uint32_t window = 0;    ///< octets of the socket buffers; 0: as they are
  std::uint32_t block = 0;     ///< octets of one write, or of a datagram
  std::uint64_t rate = 0;      ///< bits a second for each stream; 0: any
  std::uint32_t burst = 0;     ///< blocks sent together
  Duration pacing_timer = 1ms;
  std::uint8_t tos = 0;
  std::string congestion;  ///< "": as it is
  std::string title;
  std::string extra_data;
  bool get_server_output = false;
  bool wide_counters = false;  ///< 64-bit numbers in datagrams
  std::string client_version;

  /// How many streams there are in all.
  unsigned streams() const { return bidirectional ? 2 * parallel : parallel; }
  Duration duration() const { return std::chrono::seconds(omit_s + time_s); }
};

/// Why something is refused: what the peer is told, and what the log says.
struct Refusal {
  ErrorCode code;
  std::string why;
};

/// `mss`: the default block of a UDP test.
std::variant<Parameters, Refusal> parse_parameters(std::string_view text, std::uint32_t mss);
std::string to_text(const Parameters& p);

/// What one end counted of one stream. Omitted seconds are not in `bytes`, but in the rest.
struct StreamResult {
  int id = 0;
  std::uint64_t bytes = 0;
  std::int64_t retransmits = -1;  ///< -1: not known
  double jitter_s = 0;
  std::uint64_t lost = 0;
  std::uint64_t packets = 0;
  std::uint64_t omitted_lost = 0;
  std::uint64_t omitted_packets = 0;
  bool tells_omitted = true;  ///< of those that were read: the last two were there
  double seconds = 0;
};

struct Results {
  double cpu_total = 0, cpu_user = 0, cpu_system = 0;  ///< percent
  int sender_has_retransmits = -1;                     ///< 1: yes, 0: no, -1: not a sender
  std::string congestion_used;
  std::vector<StreamResult> streams;
  std::string server_output_text;
  std::string server_output_json;  ///< an object
};

std::optional<Results> parse_results(std::string_view text);
std::string to_text(const Results& r);

/// `text` behind its length, as it goes out.
std::string framed(std::string_view text);

/// Collects one message that arrives in pieces.
class MessageReader {
 public:
  explicit MessageReader(std::size_t limit) : limit_(limit) {}
  /// Takes what belongs to the message from the front of `in` and returns how many octets that
  /// were. More than the limit makes it fail for good.
  std::size_t feed(Bytes in);
  bool complete() const { return have_length() && text_.size() == length_; }
  bool failed() const { return failed_; }
  const std::string& text() const { return text_; }

 private:
  bool have_length() const { return head_size_ == head_.size(); }
  std::size_t limit_;
  std::array<std::uint8_t, 4> head_{};
  std::size_t head_size_ = 0;
  std::size_t length_ = 0;
  std::string text_;
  bool failed_ = false;
};

/// The head of a datagram: when it was sent, by the sender's clock, and its number, from 1 on.
struct DatagramHead {
  std::uint32_t seconds = 0;
  std::uint32_t microseconds = 0;
  std::uint64_t number = 0;
  static constexpr std::size_t size(bool wide) { return wide ? 16 : 12; }
  /// nullopt when the datagram is too short.
  static std::optional<DatagramHead> parse(Bytes datagram, bool wide);
  void emit(bool wide, MutableBytes out) const;
};

}  // namespace pollux::iperf3
