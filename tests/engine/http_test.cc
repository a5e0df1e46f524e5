#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "engine/http_date.h"
#include "engine/services/chargen.h"
#include "engine/services/http_conversation.h"
#include "engine/services/http_parser.h"
#include "tests/engine/http_talk.h"

namespace pollux {
namespace {

using Status = HttpRequestParser::Status;

Bytes octets(std::string_view s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

/// The state of a parser as text, so that two can be compared.
std::string describe(const HttpRequestParser& p) {
  const HttpRequest& r = p.request();
  return std::to_string(static_cast<int>(p.status())) + " " + std::to_string(p.error()) + " " +
         r.method + " " + r.target + " " + std::to_string(r.minor_version) + " " +
         std::to_string(r.persistent) + std::to_string(r.chunked) +
         std::to_string(r.expects_continue) + " " +
         (r.content_length ? std::to_string(*r.content_length) : "-") + " " + r.range + " " +
         r.if_none_match;
}

std::unique_ptr<HttpRequestParser> parsed(std::string_view text) {
  auto p = std::make_unique<HttpRequestParser>();
  p->feed(octets(text));
  return p;
}

TEST(HttpParser, ReadsOneHeadAndNoMore) {
  const std::string head = "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n";
  HttpRequestParser p;
  EXPECT_TRUE(p.idle());
  EXPECT_EQ(p.feed(octets(head + "GET /next")), head.size());
  EXPECT_EQ(p.status(), Status::complete);
  EXPECT_EQ(p.request().method, "GET");
  EXPECT_EQ(p.request().target, "/a?b");
  EXPECT_TRUE(p.request().persistent);
  EXPECT_EQ(p.feed(octets("more")), 0U);
  p.reset();
  EXPECT_TRUE(p.idle());
  EXPECT_EQ(p.status(), Status::need_more);
}

const std::vector<std::string>& good_heads() {
  static const std::vector<std::string> heads{
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
      "\r\n\r\nHEAD /a%20b HTTP/1.1\r\nhost:\tx \r\nRANGE: bytes=0-1\r\n\r\n",
      "GET http://h:80/p?q HTTP/1.1\r\nHost: h\r\nConnection: foo , Close\r\n\r\n",
      "GET http://h HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: x\r\nX-Empty:\r\n\r\n",
      "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nX: \x80\xff\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
  };
  return heads;
}

struct BadHead {
  std::string text;
  int error;
};

std::string fields(int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s += "X: y\r\n";
  return s;
}

const std::vector<BadHead>& bad_heads() {
  const std::string get = "GET / HTTP/1.1\r\nHost: x\r\n";
  static const std::vector<BadHead> heads{
      {"GET /\r\n\r\n", 400},
      {"GET  HTTP/1.1\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {" GET / HTTP/1.1\r\n\r\n", 400},
      {"G@T / HTTP/1.1\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\n\r\n", 400},
      {"GET * HTTP/1.1\r\n\r\n", 400},
      {"GET /#f HTTP/1.1\r\n\r\n", 400},
      {"GET http:///a HTTP/1.1\r\n\r\n", 400},
      {"GET / http/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.10\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: x\n\n", 400},
      {"GET / HTTP/1.2\r\n\r\n", 505},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"GET / HTTP/0.9\r\n\r\n", 505},
      {std::string("GET /\0 HTTP/1.1\r\n\r\n", 20), 400},
      {"GET /\r HTTP/1.1\r\n\r\n", 400},
      {"\x16\x03\x01\x02\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {get + "Host: y\r\n\r\n", 400},
      {get + "Name : x\r\n\r\n", 400},
      {get + "Nothing\r\n\r\n", 400},
      {get + ": x\r\n\r\n", 400},
      {get + std::string("A: \0\r\n\r\n", 8), 400},
      {get + "A: b\rc\r\n\r\n", 400},
      {get + "Content-Length: -1\r\n\r\n", 400},
      {get + "Content-Length: +1\r\n\r\n", 400},
      {get + "Content-Length: 0x1\r\n\r\n", 400},
      {get + "Content-Length:\r\n\r\n", 400},
      {get + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
      {get + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
      {std::string(5000, 'a'), 414},
      {get + "A: " + std::string(9000, 'a') + "\r\n\r\n", 431},
      {get + fields(101) + "\r\n", 431},
  };
  return heads;
}

TEST(HttpParser, AcceptsTheTable) {
  for (const auto& head : good_heads()) {
    const auto p = parsed(head);
    EXPECT_EQ(p->status(), Status::complete) << head << p->error();
  }
}

TEST(HttpParser, RefusesTheTable) {
  for (const auto& head : bad_heads()) {
    const auto p = parsed(head.text);
    EXPECT_EQ(p->status(), Status::error) << head.text;
    EXPECT_EQ(p->error(), head.error) << head.text;
  }
}

/// What is none may be refused only when a head's end has come.
void feed_end(HttpRequestParser& p) {
  if (p.status() == Status::need_more) p.feed(octets("\r\n\r\n"));
}

TEST(HttpParser, AnySplitGivesTheSame) {
  std::vector<std::string> heads = good_heads();
  for (const auto& bad : bad_heads()) heads.push_back(bad.text);
  for (const auto& head : heads) {
    const auto p = parsed(head);
    const bool good = p->status() == Status::complete;
    const std::string whole = describe(*p);
    const auto same = [&](const HttpRequestParser& other) {
      return good ? describe(other) == whole
                  : other.status() == Status::error && other.error() == p->error();
    };
    for (std::size_t at = 0; at <= head.size(); ++at) {
      HttpRequestParser split;
      split.feed(octets(head).first(at));
      split.feed(octets(head).subspan(at));
      feed_end(split);
      ASSERT_TRUE(same(split)) << "split at " << at << " of " << head << describe(split);
    }
    HttpRequestParser single;
    for (const char& c : head) single.feed(octets({&c, 1}));
    feed_end(single);
    EXPECT_TRUE(same(single)) << head << describe(single);
  }
}

/// The content of the body behind `head`, fed in pieces of `step`; nullopt when it is refused.
std::optional<std::string> body_in(std::string_view text, std::size_t step,
                                   std::size_t* taken = nullptr) {
  HttpRequestParser p;
  std::size_t at = p.feed(octets(text));
  std::string content;
  std::size_t calls = 0;
  while (at < text.size() && p.status() == Status::complete && !p.body_done()) {
    const auto b = p.feed_body(octets(text.substr(at, step)));
    EXPECT_LE(b.taken, step);
    if (++calls > 3 * text.size()) return "it does not end";
    content.append(reinterpret_cast<const char*>(b.content.data()), b.content.size());
    at += b.taken;
  }
  if (taken != nullptr) *taken = at;
  if (p.status() == Status::error || !p.body_done()) return std::nullopt;
  return content;
}

const std::string kChunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(HttpParser, BodiesWhateverTheSplit) {
  struct Row {
    std::string text;
    std::optional<std::string> content;
  };
  for (const Row& r :
       {Row{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "hello"},
        Row{kChunked + "0\r\n\r\n", ""}, Row{kChunked + "5\r\nhello\r\n0\r\n\r\n", "hello"},
        Row{kChunked + "01\r\nh\r\n001\r\ne\r\n3\r\nllo\r\n000\r\n\r\n", "hello"},
        Row{kChunked + "1;a=b\r\nh\r\n4;x\r\nello\r\n0\r\n\r\n", "hello"},
        Row{kChunked + "5\r\nhello\r\n0\r\nHost: y\r\nTrailer: x\r\n\r\n", "hello"},
        Row{kChunked + "5\r\nhello0\r\n\r\n", std::nullopt},
        Row{kChunked + "x\r\nhello\r\n0\r\n\r\n", std::nullopt},
        Row{kChunked + "-1\r\nhello\r\n0\r\n\r\n", std::nullopt},
        Row{kChunked + "11111111111111111\r\nhello\r\n", std::nullopt},
        Row{kChunked + "5\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n", std::nullopt},
        Row{kChunked + std::string(20000, '1'), std::nullopt},
        Row{kChunked + "0\r\n" + fields(5000), std::nullopt}}) {
    const std::size_t most = std::min<std::size_t>(r.text.size(), 200);
    for (std::size_t step = 1; step <= most; ++step) {
      std::size_t taken = 0;
      ASSERT_EQ(body_in(r.text + "GET", step, &taken), r.content) << r.text << " by " << step;
      if (r.content) {
        ASSERT_EQ(taken, r.text.size()) << r.text << " by " << step;
      }
    }
  }
}

TEST(HttpParser, RandomChunksAreReadOrRefused) {
  EXPECT_TRUE(rc::check([] {
    std::string text = kChunked;
    const auto part =
        rc::gen::element<std::string>("5", "0", "\r\n", "\r", "\n", "hello", ";a", "=", "X: y\r\n",
                                      "0\r\n\r\n", "5\r\nhello\r\n", "\"", " ", "ffffffffffffffff");
    for (const auto& p : *rc::gen::container<std::vector<std::string>>(part)) text += p;
    body_in(text, *rc::gen::inRange<std::size_t>(1, 20));
  }));
}

TEST(HttpParser, HeaderFloodsEnd) {
  for (const char* piece : {"\r\n", "\n", "a", "GET / HTTP/1.1\r\n", "A: b\r\n"}) {
    HttpRequestParser p;
    p.feed(octets("GET / HTTP/1.1\r\n"));
    std::size_t fed = 0;
    for (; fed < 20000 && p.status() == Status::need_more; ++fed) p.feed(octets(piece));
    EXPECT_EQ(p.status(), Status::error) << piece;
  }
  HttpRequestParser empty_lines;
  for (int i = 0; i < 5000; ++i) empty_lines.feed(octets("\r\n"));
  EXPECT_EQ(empty_lines.error(), 431);
}

/// Octets that look enough like HTTP to get past the first check.
rc::Gen<std::string> http_like() {
  return rc::gen::map(
      rc::gen::container<std::vector<std::string>>(rc::gen::oneOf(
          rc::gen::element<std::string>("GET ", "HEAD / HTTP/1.1\r\n", "/", " HTTP/1.1", "\r\n",
                                        "\n", "\r", "Host: x\r\n", "Content-Length: ", "7", ",",
                                        ":", " ", "Range: bytes=1-", "Connection: close\r\n",
                                        "Transfer-Encoding: chunked\r\n", "\r\n\r\n"),
          rc::gen::arbitrary<std::string>())),
      [](const std::vector<std::string>& parts) {
        std::string s;
        for (const auto& p : parts) s += p;
        return s;
      });
}

TEST(HttpParser, RandomOctetsNeverExceedTheLimits) {
  EXPECT_TRUE(rc::check([] {
    const std::string text = *http_like();
    const std::size_t repeat = *rc::gen::inRange<std::size_t>(1, 200);
    const std::size_t step = *rc::gen::inRange<std::size_t>(1, 3000);
    std::string all;
    for (std::size_t i = 0; i < repeat; ++i) all += text;
    HttpRequestParser p;
    for (std::size_t at = 0; at < all.size(); at += step) {
      p.feed(octets(all).subspan(at, std::min(step, all.size() - at)));
      RC_ASSERT(p.held() <= http_limits::kMaxHead + 64);
    }
    return p.status() != Status::error || p.error() >= 400;
  }));
}

// -- conversation ------------------------------------------------------------------------------

constexpr std::time_t kNow = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT

Slice slice(std::string_view s) { return Slice::from_static(octets(s)); }

/// Feeds `in` in pieces of `step` octets and takes all output, as a transport with room would.
std::string converse(HttpConversation& c, std::string_view in, std::size_t step = 1 << 20) {
  std::string out;
  c.at({kNow, Instant{1h}});
  for (std::size_t at = 0;;) {
    out += take_output(c);
    if (c.closing() || at == in.size()) return out;
    at += c.feed(slice(in.substr(at, step)));
  }
}

std::string answer(std::string_view request) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  return converse(c, request);
}

std::string get(const std::string& target, const std::string& more = "") {
  return "GET " + target + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n";
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string body_of(const std::string& response) {
  return response.substr(response.find("\r\n\r\n") + 4);
}

TEST(HttpConversation, BuiltInPage) {
  const std::string r = answer(get("/"));
  EXPECT_TRUE(r.starts_with("HTTP/1.1 200 OK\r\n")) << r;
  EXPECT_TRUE(has(r, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")) << r;
  EXPECT_TRUE(has(r, "Content-Type: text/html; charset=utf-8\r\n"));
  EXPECT_TRUE(has(r, "Content-Length: " + std::to_string(body_of(r).size()) + "\r\n"));
  EXPECT_FALSE(has(r, "Connection: close"));
}

TEST(HttpConversation, HeadHasTheHeadersOfGetAndNoBody) {
  const std::string full = answer(get("/bytes/1000"));
  EXPECT_EQ(answer("HEAD /bytes/1000 HTTP/1.1\r\nHost: x\r\n\r\n"),
            full.substr(0, full.size() - 1000));
}

TEST(HttpConversation, BytesArePatternOfAnyLength) {
  for (const std::size_t n : {0UL, 1UL, 7030UL, 300000UL, 3000001UL}) {
    const std::string body = body_of(answer(get("/bytes/" + std::to_string(n))));
    ASSERT_EQ(body.size(), n);
    for (std::size_t i = 0; i < n; i += 997) {
      ASSERT_EQ(static_cast<std::uint8_t>(body[i]), chargen_slice(i, 1).data()[0]);
    }
  }
}

TEST(HttpConversation, StatusTable) {
  struct Row {
    std::string request;
    const char* status;
    bool close;
  };
  for (const Row& r : {
           Row{get("/none"), "404", false},
           Row{get("/bytes/"), "404", false},
           Row{get("/bytes/x"), "404", false},
           Row{get("/bytes/-1"), "404", false},
           Row{get("/bytes/99999999999999999999999"), "404", false},
           Row{get("/%zz"), "400", false},
           Row{get("/../etc/passwd"), "400", false},
           Row{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "405", false},
           Row{"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "405", false},
           Row{"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "501", false},
           Row{"nonsense\r\n", "400", true},
           Row{"GET / HTTP/3.0\r\n", "505", true},
           Row{"GET /" + std::string(9000, 'a'), "414", true},
           Row{"GET / HTTP/1.1\r\nA: " + std::string(9000, 'a'), "431", true},
           Row{get("/", "Connection: close\r\n"), "200", true},
           Row{"GET / HTTP/1.0\r\n\r\n", "200", true},
           Row{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200", false},
           Row{get("/", "Transfer-Encoding: chunked\r\n"), "200", true},
           Row{get("/", "Content-Length: 5000000\r\n"), "200", true},
           Row{get("/", "Content-Length: 5\r\nExpect: 100-continue\r\n"), "200", true},
       }) {
    HttpContent content(HttpOptions{});
    HttpConversation c(content);
    const std::string response = converse(c, r.request);
    EXPECT_EQ(response.substr(0, 13), std::string("HTTP/1.1 ") + r.status + " ") << r.request;
    EXPECT_EQ(c.closing(), r.close) << r.request;
    EXPECT_EQ(has(response, "\r\nConnection: close\r\n"), r.close) << r.request;
    EXPECT_TRUE(has(response, "\r\nContent-Length: "));
  }
  EXPECT_TRUE(has(answer("PUT / HTTP/1.1\r\nHost: x\r\n\r\n"), "Allow: GET, HEAD\r\n"));
  EXPECT_TRUE(has(answer("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                  "Connection: keep-alive\r\n"));
}

TEST(HttpConversation, PipelinedRequestsAreAnsweredInOrderWhateverTheSplit) {
  const std::string in = get("/bytes/10") +
                         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" + "GET /evil" +
                         get("/none") + get("/bytes/5", "Connection: close\r\n") + get("/bytes/99");
  const std::string whole = answer(in);
  EXPECT_TRUE(has(whole, "HTTP/1.1 200"));
  EXPECT_TRUE(has(whole, "HTTP/1.1 405"));
  EXPECT_TRUE(has(whole, "HTTP/1.1 404"));
  EXPECT_TRUE(whole.ends_with("\r\n\r\n !\"#$"));  // nothing after close
  for (std::size_t step = 1; step < in.size(); ++step) {
    HttpContent content(HttpOptions{});
    HttpConversation c(content);
    ASSERT_EQ(converse(c, in, step), whole) << step;
  }
}

TEST(HttpConversation, TakesNothingWhileAResponseWaits) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  const std::string one = get("/bytes/1000000");
  EXPECT_EQ(c.feed(slice(one + one)), one.size());
  EXPECT_EQ(c.feed(slice(one)), 0U);
}

TEST(HttpConversation, SmallResponsesAreOnePiece) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  c.feed(slice(get("/bytes/2048")));
  EXPECT_TRUE(c.body().empty());
  EXPECT_LT(c.head().size(), 2048U + 512U);
  c.sent(c.head().size());
  c.feed(slice(get("/bytes/2049")));
  EXPECT_EQ(c.body().size(), 2049U);
}

TEST(HttpConversation, TimeOut) {
  HttpContent content(HttpOptions{});
  HttpConversation begun(content);
  begun.feed(slice("GET / HT"));
  EXPECT_TRUE(begun.mid_request());
  begun.time_out();
  EXPECT_TRUE(converse(begun, "").starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  EXPECT_TRUE(begun.closing());
  HttpConversation silent(content);
  silent.time_out();
  EXPECT_FALSE(silent.has_output());
  EXPECT_TRUE(silent.closing());
}

TEST(HttpConversation, Ranges) {
  const std::string whole = body_of(answer(get("/bytes/100")));
  struct Row {
    const char* range;
    int status;
    std::size_t offset, length;
  };
  for (const Row& r : {Row{"bytes=0-0", 206, 0, 1},
                       Row{"bytes=10-19", 206, 10, 10},
                       Row{"bytes=90-", 206, 90, 10},
                       Row{"bytes=90-1000", 206, 90, 10},
                       Row{"bytes=-7", 206, 93, 7},
                       Row{"bytes=-1000", 206, 0, 100},
                       Row{"BYTES= 1-2", 206, 1, 2},
                       Row{"bytes=5-4", 200, 0, 100},
                       Row{"bytes=0-1,5-6", 200, 0, 100},
                       Row{"lines=0-1", 200, 0, 100},
                       Row{"bytes=-", 200, 0, 100},
                       Row{"bytes=a-b", 200, 0, 100},
                       Row{"bytes=100-", 416, 0, 0},
                       Row{"bytes=-0", 416, 0, 0},
                       Row{"bytes=18446744073709551615-", 416, 0, 0},
                       Row{"bytes=0-18446744073709551615", 206, 0, 100},
                       Row{"bytes=99999999999999999999999-", 416, 0, 0},
                       Row{"bytes=0-99999999999999999999999", 206, 0, 100},
                       Row{"bytes=-99999999999999999999999", 206, 0, 100},
                       Row{"bytes=+1-2", 200, 0, 100}}) {
    const std::string a = answer(get("/bytes/100", "Range: " + std::string(r.range) + "\r\n"));
    EXPECT_TRUE(a.starts_with("HTTP/1.1 " + std::to_string(r.status))) << r.range;
    EXPECT_EQ(body_of(a), whole.substr(r.offset, r.length)) << r.range;
    if (r.status == 206) {
      EXPECT_TRUE(has(a, "Content-Range: bytes " + std::to_string(r.offset) + "-" +
                             std::to_string(r.offset + r.length - 1) + "/100\r\n"))
          << a;
    }
    EXPECT_EQ(has(a, "Content-Range: bytes */100\r\n"), r.status == 416) << a;
  }
}

TEST(HttpConversation, RangeFarInAHugeBody) {
  const std::string a = answer(get("/bytes/18446744073709551615", "Range: bytes=-3\r\n"));
  EXPECT_TRUE(has(a,
                  "Content-Range: bytes 18446744073709551612-18446744073709551614/"
                  "18446744073709551615\r\n"))
      << a;
  EXPECT_EQ(body_of(a).size(), 3U);
}

TEST(HttpConversation, RandomOctetsNeverBreakIt) {
  HttpContent content(HttpOptions{});
  EXPECT_TRUE(rc::check([&] {
    HttpConversation c(content);
    const std::string out = converse(c, *http_like(), *rc::gen::inRange<std::size_t>(1, 50));
    return out.empty() || out.starts_with("HTTP/1.1 ");
  }));
}

// -- echo, drip, events ------------------------------------------------------------------------

std::string post(const std::string& more, const std::string& body) {
  return "POST /echo HTTP/1.1\r\nHost: x\r\n" + more + "\r\n" + body;
}

/// The content of a chunked body.
std::string unchunked(std::string_view body) {
  return body_in(kChunked + std::string(body), 1000).value_or("broken");
}

TEST(HttpEcho, SendsBackWhatCameWithItsType) {
  const std::string a =
      answer(post("Content-Length: 5\r\nContent-Type: image/png\r\n", "hello") + get("/none"));
  EXPECT_TRUE(a.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(has(a, "Content-Type: image/png\r\n"));
  EXPECT_TRUE(has(a, "Content-Length: 5\r\n"));
  EXPECT_TRUE(has(a, "nosniff"));
  EXPECT_TRUE(has(a, "\r\n\r\nhelloHTTP/1.1 404 "));  // and the next request is read
  EXPECT_TRUE(has(answer(post("", "")), "Content-Length: 0\r\n"));
}

TEST(HttpEcho, ChunksInAndOutWhateverTheSplit) {
  const std::string in =
      post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n");
  for (std::size_t step = 1; step <= in.size(); ++step) {
    HttpContent content(HttpOptions{});
    HttpConversation c(content);
    const std::string a = converse(c, in + get("/none"), step);
    ASSERT_TRUE(has(a, "Transfer-Encoding: chunked\r\n"));
    const std::size_t next = a.find("HTTP/1.1 404 ");
    ASSERT_NE(next, a.npos) << a;
    ASSERT_EQ(unchunked(body_of(a.substr(0, next))), "hello, world") << step;
  }
  EXPECT_TRUE(
      answer(post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")).ends_with("\r\n\r\n0\r\n\r\n"));
}

TEST(HttpEcho, PiecesAreNotCopied) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  const std::string in = post("Content-Length: 100000\r\n", "");
  const std::string body(100000, 'b');
  c.feed(slice(in));
  c.sent(c.head().size());
  EXPECT_TRUE(c.mid_body());
  EXPECT_EQ(c.feed(slice(body)), body.size());
  EXPECT_EQ(c.body().data(), reinterpret_cast<const std::uint8_t*>(body.data()));
  EXPECT_EQ(c.feed(slice(body)), 0U);  // one piece at a time
  c.sent(body.size());
  EXPECT_FALSE(c.mid_body());
}

TEST(HttpEcho, ContinuesBeforeTheBodyAndClosesAfterIt) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  const std::string head =
      post("Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n", "");
  const std::string a = converse(c, head);
  EXPECT_TRUE(a.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")) << a;
  EXPECT_FALSE(c.closing());
  EXPECT_EQ(converse(c, "hi"), "hi");
  EXPECT_TRUE(c.closing());
}

TEST(HttpEcho, BrokenChunksEndTheResponse) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  const std::string a =
      converse(c, post("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\nzz\r\nhi\r\n"));
  EXPECT_TRUE(a.ends_with("2\r\nhi")) << a;
  EXPECT_TRUE(c.closing());
}

TEST(HttpEcho, OtherMethodsAreToldWhatIsAllowed) {
  const std::string a = answer(get("/echo"));
  EXPECT_TRUE(a.starts_with("HTTP/1.1 405 ")) << a;
  EXPECT_TRUE(has(a, "Allow: POST, PUT\r\n"));
  EXPECT_TRUE(has(answer("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), "Allow: GET, HEAD\r\n"));
  for (const std::string method : {"DELETE", "OPTIONS", "HEAD"}) {
    const std::string e = answer(method + " /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(e.starts_with("HTTP/1.1 405 ")) << e;
    EXPECT_TRUE(has(e, "Allow: POST, PUT\r\n")) << e;
  }
  EXPECT_TRUE(answer("BREW /echo HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 501 "));
}

/// What can be sent at `now`.
std::string said(HttpConversation& c, Instant now) {
  c.at({kNow, now});
  return take_output(c);
}

TEST(HttpDrip, OctetsComeEvenlyAfterTheDelay) {
  HttpContent content(HttpOptions{});
  HttpConversation c(content);
  const Instant start{1h};
  c.at({kNow, start});
  c.feed(slice(get("/drip?bytes=11&seconds=10&delay=1.5")));
  EXPECT_EQ(said(c, start), "");
  EXPECT_EQ(c.resumes_at(), start + 1500ms);
  EXPECT_EQ(c.feed(slice(get("/"))), 0U);
  const std::string first = said(c, start + 1500ms);
  EXPECT_TRUE(has(first, "Content-Length: 11\r\n")) << first;
  EXPECT_EQ(body_of(first).size(), 1U);
  EXPECT_EQ(c.resumes_at(), start + 2500ms);
  EXPECT_EQ(said(c, start + 2400ms), "");
  EXPECT_EQ(said(c, start + 2500ms).size(), 1U);
  EXPECT_EQ(said(c, start + 6500ms).size(), 4U);
  EXPECT_EQ(said(c, start + 11500ms).size(), 5U);
  EXPECT_EQ(c.resumes_at(), std::nullopt);
  EXPECT_GT(c.feed(slice(get("/"))), 0U);
}

TEST(HttpDrip, Table) {
  struct Row {
    const char* query;
    int status;
  };
  for (const Row& r :
       {Row{"", 200}, Row{"?", 200}, Row{"?bytes=0", 200}, Row{"?bytes=1&seconds=0", 200},
        Row{"?seconds=0.25&unknown=1", 200}, Row{"?bytes=x", 400}, Row{"?bytes=-1", 400},
        Row{"?bytes=1000000001", 400}, Row{"?seconds=-1", 400}, Row{"?seconds=3601", 400},
        Row{"?seconds=1e3", 400}, Row{"?seconds=nan", 400}, Row{"?seconds=inf", 400},
        Row{"?delay=61", 400}, Row{"?delay=", 400}}) {
    const std::string a = answer(get("/drip" + std::string(r.query)));
    EXPECT_TRUE(a.starts_with("HTTP/1.1 " + std::to_string(r.status))) << r.query << a;
  }
}

TEST(HttpEvents, AreAStreamWithoutEnd) {
  HttpOptions options;
  HttpContent content(options);
  HttpConversation c(content);
  const std::string head = converse(c, get("/events"));
  EXPECT_TRUE(has(head, "Content-Type: text/event-stream\r\n")) << head;
  EXPECT_FALSE(has(head, "Content-Length"));
  EXPECT_TRUE(c.streams_events());
  EXPECT_EQ(c.resumes_at(), kNever);
  c.say_event("{}");
  EXPECT_EQ(said(c, Instant{1h}), "data: {}\n\n");
  EXPECT_EQ(c.resumes_at(), kNever);
}

TEST(HttpContent, TheLivePageIsWhereItWasAsked) {
  const auto status = [](const HttpOptions& o, const std::string& target) {
    HttpContent content(o);
    return content.find(target, kNow, Instant{}).status;
  };
  HttpOptions o;
  for (const char* page : {"/", "/index.html", "/live.js", "/style.css", "/events", "/echo"}) {
    EXPECT_EQ(status(o, page), 200) << page;
  }
  EXPECT_EQ(status(o, "/live.html"), 404);
  o.live = false;
  EXPECT_EQ(status(o, "/"), 200);
  EXPECT_EQ(status(o, "/events"), 404);
  EXPECT_EQ(status(o, "/live.js"), 404);
  o.root = "/proc/self/task";
  EXPECT_EQ(status(o, "/.pollux/"), 404);
  EXPECT_EQ(status(o, "/echo"), 404);
  o.live = true;
  EXPECT_EQ(status(o, "/.pollux/"), 200);
  EXPECT_EQ(status(o, "/.pollux/events"), 200);
  EXPECT_EQ(status(o, "/.pollux"), 301);
  EXPECT_EQ(status(o, "/.polluxes"), 404);
  EXPECT_EQ(status(o, "/events"), 404);
}

TEST(HttpDate, ThreeForms) {
  EXPECT_EQ(http_date(kNow), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), kNow);
  EXPECT_EQ(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), kNow);
  EXPECT_EQ(parse_http_date("Sun Nov  6 08:49:37 1994"), kNow);
  EXPECT_EQ(parse_http_date("yesterday"), std::nullopt);
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT+1"), std::nullopt);
}

}  // namespace
}  // namespace pollux
