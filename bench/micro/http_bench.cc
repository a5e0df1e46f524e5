// The head of an HTTP request as curl, wrk and a browser send it, in one piece and in two, which
// makes the parser hold a part.
#include <benchmark/benchmark.h>

#include <string_view>

#include "engine/services/http_parser.h"

namespace pollux::bench {
namespace {

constexpr std::string_view kWrk = "GET / HTTP/1.1\r\nHost: 198.18.0.2\r\n\r\n";
constexpr std::string_view kCurl =
    "GET /bytes/1024 HTTP/1.1\r\nHost: 198.18.0.2\r\nUser-Agent: curl/7.88.1\r\n"
    "Accept: */*\r\n\r\n";
constexpr std::string_view kBrowser =
    "GET / HTTP/1.1\r\nHost: 198.18.0.2\r\nConnection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
    "image/apng,*/*;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    "If-None-Match: \"2f-10-5f0a.0\"\r\n\r\n";

void head(benchmark::State& state, std::string_view text, std::size_t first) {
  const Bytes in{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  HttpRequestParser p;
  for (auto _ : state) {
    p.feed(in.first(first));
    p.feed(in.subspan(first));
    if (p.status() != HttpRequestParser::Status::complete) state.SkipWithError("incomplete");
    benchmark::DoNotOptimize(p.request());
    p.reset();
  }
}
BENCHMARK_CAPTURE(head, wrk, kWrk, kWrk.size())->Name("http_head/wrk");
BENCHMARK_CAPTURE(head, curl, kCurl, kCurl.size())->Name("http_head/curl");
BENCHMARK_CAPTURE(head, browser, kBrowser, kBrowser.size())->Name("http_head/browser");
BENCHMARK_CAPTURE(head, two, kBrowser, 200)->Name("http_head/browser_in_two_pieces");

}  // namespace
}  // namespace pollux::bench
