// The configuration: defaults, every key, every kind of mistake with its place, overrides.
#include "engine/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <nlohmann/json.hpp>

namespace pollux {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> mistakes(std::string_view text, std::vector<std::string> sets = {}) {
  return parse_config(text, "f.toml", sets).mistakes;
}

TEST(Config, AnEmptyFileIsTheDocumentedDefault) {
  const ConfigResult r = parse_config("", "f.toml");
  ASSERT_TRUE(r.ok());
  EXPECT_FALSE(r.config.engine.workers.has_value());
  EXPECT_EQ(r.config.engine.spin, std::chrono::microseconds(50));
  EXPECT_EQ(r.config.tun.name, "pollux0");
  EXPECT_EQ(r.config.tun.mtu, 1500u);
  ASSERT_EQ(r.config.tun.address.size(), 2u);
  EXPECT_EQ(r.config.tun.address[0].addr.v4_value(), 0xC6120002u);
  EXPECT_EQ(r.config.tun.address[1].length, 128);
  EXPECT_EQ(r.config.tcp.receive_buffer, 6u << 20);
  EXPECT_EQ(r.config.tcp.memory_limit, 2ULL << 30);
  EXPECT_TRUE(r.config.services.empty());
}

TEST(Config, ReadsEverySection) {
  const ConfigResult r = parse_config(R"(
[engine]
workers = 3
rx = "dedicated"
cores = [0, 2, 4, 6]
idle = "block"
spin_us = 7
drain_s = 1
[tun]
name = "t9"
queues = 2
mtu = 9000
offload = false
verify_checksums = "always"
host_address = ["10.0.0.1/24"]
address = ["10.1.0.0/16"]
manage = false
txqueuelen = 10
[tcp]
congestion_control = "reno"
receive_buffer = "64KiB"
send_buffer = "1GiB"
memory_limit = "5MiB"
syn_cookies = "never"
delayed_ack_ms = 0
keepalive_s = 30
time_wait_s = 1
user_timeout_s = 9
[log]
level = "debug"
file = "/tmp/x"
[control]
socket = ""
[[service]]
kind = "http"
port = 8080
address = "10.1.2.3"
root = "/srv"
)",
                                      "f.toml");
  ASSERT_THAT(r.mistakes, ElementsAre());
  const Config& c = r.config;
  EXPECT_EQ(c.engine.workers, 3u);
  EXPECT_EQ(c.engine.rx, RxMode::dedicated);
  EXPECT_THAT(*c.engine.cores, ElementsAre(0, 2, 4, 6));
  EXPECT_EQ(c.engine.idle, IdleMode::block);
  EXPECT_EQ(c.tun.queues, 2u);
  EXPECT_FALSE(c.tun.offload);
  EXPECT_EQ(c.tun.address[0].length, 16);
  EXPECT_EQ(c.tcp.congestion_control, tcp::CcKind::reno);
  EXPECT_EQ(c.tcp.receive_buffer, 65536u);
  EXPECT_EQ(c.tcp.syn_cookies, tcp::CookiePolicy::never);
  EXPECT_EQ(c.log.level, LogLevel::debug);
  EXPECT_EQ(c.control.socket, "");
  ASSERT_EQ(c.services.size(), 1u);
  EXPECT_EQ(c.services[0].kind, ServiceKind::http);
  EXPECT_EQ(c.services[0].root, "/srv");
}

TEST(Config, EveryMistakeIsReportedWithItsPlace) {
  EXPECT_THAT(mistakes("[engine]\nworkers = 65\nrx = 1\nnope = 2\n[nowhere]\n"),
              testing::UnorderedElementsAre(
                  "f.toml:2:11: engine.workers: expected \"auto\" or 1..64, got 65",
                  "f.toml:3:6: engine.rx: expected \"auto\", \"dedicated\" or \"inline\", got 1",
                  "f.toml:4:1: engine.nope: expected one of the keys workers, rx, cores, idle, "
                  "spin_us, drain_s, got an unknown key",
                  "f.toml:5:2: nowhere: expected one of the sections engine, tun, tcp, log, "
                  "control, service, got an unknown section or key"));
}

TEST(Config, ASyntaxErrorHasItsPlace) {
  EXPECT_THAT(mistakes("[engine]\nworkers = \n"), ElementsAre(testing::StartsWith("f.toml:2:")));
}

TEST(Config, RefusesWrongValues) {
  for (const char* text : {"[engine]\nworkers = 0",
                           "[engine]\nworkers = \"2\"",
                           "[engine]\nworkers = 2.0",
                           "[engine]\nspin_us = -1",
                           "[engine]\ncores = []",
                           "[engine]\ncores = [1, 1]",
                           "[engine]\ncores = 1",
                           "[tun]\nname = \"\"",
                           "[tun]\nname = \"sixteen-letters-\"",
                           "[tun]\nname = \"a/b\"",
                           "[tun]\nmtu = 500",
                           "[tun]\naddress = []",
                           "[tun]\naddress = [\"1.2.3\"]",
                           "[tun]\naddress = \"1.2.3.4\"",
                           "[tun]\noffload = 1",
                           "[tcp]\nreceive_buffer = 65536",
                           "[tcp]\nreceive_buffer = \"6MB\"",
                           "[tcp]\nreceive_buffer = \"-6MiB\"",
                           "[tcp]\nreceive_buffer = \"2GiB\"",
                           "[tcp]\ncongestion_control = \"vegas\"",
                           "[tcp]\ndelayed_ack_ms = 500",
                           "[log]\nlevel = \"loud\"",
                           "[log]\nfile = 1",
                           "engine = 1",
                           "[[tun]]",
                           "[service]",
                           "[control]\nsocket = true"}) {
    EXPECT_EQ(mistakes(text).size(), 1u) << text;
  }
}

TEST(Config, KeysOfIperf2) {
  const std::string iperf2 = "[[service]]\nkind = \"iperf2\"\nport = 5001\n";
  const Config c = parse_config(iperf2 +
                                    "udp_reverse = true\nmax_flows = 3\n"
                                    "max_senders = 4\nmax_duration_s = 5\n",
                                "f.toml")
                       .config;
  EXPECT_TRUE(c.services[0].iperf2.udp_reverse);
  EXPECT_EQ(c.services[0].iperf2.max_flows, 3U);
  EXPECT_EQ(c.services[0].iperf2.max_senders, 4U);
  EXPECT_EQ(c.services[0].max_duration, std::chrono::seconds(5));
  for (const char* key :
       {"udp_reverse = 1", "max_flows = 0", "max_senders = 4097", "max_duration_s = 0"}) {
    EXPECT_EQ(mistakes(iperf2 + key).size(), 1U) << key;
  }
  const std::string pingpong = "[[service]]\nkind = \"pingpong\"\nport = 11111\n";
  EXPECT_THAT(mistakes(pingpong), ElementsAre());
  EXPECT_THAT(mistakes(pingpong + "max_flows = 3"),
              ElementsAre(HasSubstr("only with kind \"iperf2\"")));
  EXPECT_THAT(mistakes(pingpong + "max_duration_s = 3"),
              ElementsAre(HasSubstr("only with kind \"iperf3\" or \"iperf2\"")));
}

TEST(Config, KeysOfHttp) {
  const std::string http = "[[service]]\nkind = \"http\"\nport = 80\n";
  const auto of = [&](const std::string& keys) {
    const ConfigResult r = parse_config(http + keys, "f.toml");
    EXPECT_TRUE(r.ok()) << keys;
    return r.ok() ? r.config.services[0].http : HttpConfig{};
  };
  EXPECT_FALSE(of("").listing);
  EXPECT_EQ(of("").live, std::nullopt);
  EXPECT_TRUE(of("listing = true").listing);
  EXPECT_EQ(of("live = false").live, false);
  EXPECT_EQ(of("live = \"auto\"").live, std::nullopt);
  EXPECT_EQ(of("max_connections = 5").max_connections, 5U);
  for (const char* wrong : {"listing = 1", "live = \"yes\"", "live = 1", "max_connections = 0"}) {
    EXPECT_EQ(mistakes(http + wrong).size(), 1U) << wrong;
  }
  const std::string echo = "[[service]]\nkind = \"echo\"\nport = 7\n";
  EXPECT_THAT(mistakes(echo + "listing = true"), ElementsAre(HasSubstr("only with kind \"http\"")));
  EXPECT_THAT(mistakes(echo + "max_connections = 5"),
              ElementsAre(HasSubstr("only with kind \"forward\" or \"http\"")));
  const ConfigResult r =
      parse_config(http + "live = true\nlisting = true\nmax_connections = 7", "f");
  const ConfigResult again = parse_config(to_toml(r.config), "g");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again.config.services[0].http.live, true);
  EXPECT_TRUE(again.config.services[0].http.listing);
  EXPECT_EQ(again.config.services[0].http.max_connections, 7U);
}

TEST(Config, ServicesAreChecked) {
  const std::string echo = "[[service]]\nkind = \"echo\"\nport = 7\n";
  EXPECT_THAT(mistakes(echo), ElementsAre());
  EXPECT_THAT(mistakes(echo + echo), ElementsAre(testing::StartsWith("f.toml:6:8: service.port: "
                                                                     "expected a port that no")));
  EXPECT_THAT(mistakes("[[service]]\nkind = \"echo\""), ElementsAre(HasSubstr("service.port")));
  EXPECT_THAT(mistakes("[[service]]\nport = 7"), ElementsAre(HasSubstr("service.kind")));
  EXPECT_THAT(mistakes("[[service]]\nkind = \"telnet\"\nport = 7"),
              ElementsAre(HasSubstr("got \"telnet\"")));
  EXPECT_THAT(mistakes(echo + "root = \"/srv\""),
              ElementsAre(HasSubstr("only with kind \"http\"")));
  EXPECT_THAT(mistakes(echo + "to = \"a:1\""),
              ElementsAre(HasSubstr("only with kind \"forward\"")));
  EXPECT_THAT(mistakes(echo + "colour = 1"), ElementsAre(HasSubstr("f.toml:4:1: service.colour")));
  EXPECT_THAT(mistakes(echo + "address = \"9.9.9.9\""),
              ElementsAre(HasSubstr("within tun.address")));
}

TEST(Config, ForwardHasItsKeys) {
  const std::string forward = "[[service]]\nkind = \"forward\"\nport = 80\n";
  const ConfigResult r = parse_config(
      forward + "to = \"[2001:2::9]:8080\"\n" + "[[service]]\nkind = \"forward\"\nport = 81\n" + R"(
to = "db:5432"
via = "engine"
max_connections = 5
allow = ["127.0.0.0/8", "10.0.0.1"]
connect_timeout_s = 1
idle_timeout_s = 0
)",
      "f.toml");
  ASSERT_THAT(r.mistakes, ElementsAre());
  const ForwardConfig& a = r.config.services[0].forward;
  EXPECT_EQ(a.to, "[2001:2::9]:8080");
  EXPECT_FALSE(a.via_engine);
  EXPECT_EQ(a.max_connections, 1024U);
  EXPECT_TRUE(a.allow.empty());
  EXPECT_EQ(a.connect_timeout, std::chrono::seconds(10));
  EXPECT_EQ(a.idle_timeout, std::chrono::seconds(3600));
  const ForwardConfig& b = r.config.services[1].forward;
  EXPECT_TRUE(b.via_engine);
  EXPECT_EQ(b.max_connections, 5U);
  EXPECT_EQ(b.allow.size(), 2U);
  EXPECT_EQ(b.connect_timeout, std::chrono::seconds(1));
  EXPECT_EQ(b.idle_timeout, std::chrono::seconds(0));
  EXPECT_EQ(to_json(parse_config(to_toml(r.config), "t.toml").config)["service"],
            to_json(r.config)["service"]);
}

TEST(Config, ForwardsTargetIsChecked) {
  const auto with = [](const std::string& more) {
    return mistakes("[[service]]\nkind = \"forward\"\nport = 80\n" + more);
  };
  EXPECT_THAT(with("to = \"10.0.0.1:80\""), ElementsAre());
  EXPECT_THAT(with(""), ElementsAre(HasSubstr("service.to: expected \"host:port\"")));
  EXPECT_THAT(with("to = \"10.0.0.1\""), ElementsAre(HasSubstr("f.toml:4:6: service.to")));
  EXPECT_THAT(with("to = \"127.0.0.1:80\""), ElementsAre(HasSubstr("allow = [\"127.0.0.1\"]")));
  EXPECT_THAT(with("to = \"127.0.0.1:80\"\nallow = [\"127.0.0.1\"]"), ElementsAre());
  EXPECT_THAT(with("to = \"10.0.0.1:80\"\nallow = [\"127.0.0.1\"]"),
              ElementsAre(HasSubstr("within service.allow")));
  // Its own door, and what the engine cannot open to.
  EXPECT_THAT(with("to = \"198.18.0.2:80\""), ElementsAre(HasSubstr("the service's own")));
  EXPECT_THAT(with("to = \"198.18.0.2:81\""), ElementsAre());
  EXPECT_THAT(with("to = \"198.18.0.2:81\"\nvia = \"engine\""),
              ElementsAre(HasSubstr("beyond tun.address")));
  for (const char* more : {"via = \"x\"", "max_connections = 0", "allow = \"10.0.0.1\"",
                           "connect_timeout_s = 0", "idle_timeout_s = -1"}) {
    EXPECT_EQ(with(std::string("to = \"10.0.0.1:80\"\n") + more).size(), 1U) << more;
  }
  for (const char* more : {"via = \"host\"", "max_connections = 1", "allow = []",
                           "connect_timeout_s = 1", "idle_timeout_s = 1"}) {
    EXPECT_THAT(mistakes(std::string("[[service]]\nkind = \"echo\"\nport = 7\n") + more),
                ElementsAre(HasSubstr("only with kind \"forward\"")));
  }
}

TEST(Config, EveryServiceMayHaveItsCongestionControl) {
  const std::string echo = "[[service]]\nkind = \"echo\"\nport = 7\n";
  const ConfigResult r = parse_config(
      "[tcp]\ncongestion_control = \"bbr\"\n" + echo + "congestion_control = \"reno\"\n" +
          "[[service]]\nkind = \"discard\"\nport = 9\ncongestion_control = \"\"\n",
      "f.toml");
  ASSERT_THAT(r.mistakes, ElementsAre());
  EXPECT_EQ(r.config.tcp.congestion_control, tcp::CcKind::bbr);
  EXPECT_EQ(r.config.services[0].congestion_control, tcp::CcKind::reno);
  EXPECT_EQ(r.config.services[1].congestion_control, std::nullopt);
  EXPECT_EQ(to_json(r.config)["service"][0]["congestion_control"], "reno");
  EXPECT_EQ(to_json(r.config)["service"][1]["congestion_control"], "");
  EXPECT_EQ(parse_config(to_toml(r.config), "t.toml").config.services[0].congestion_control,
            tcp::CcKind::reno);
  EXPECT_THAT(mistakes(echo + "congestion_control = \"vegas\""),
              ElementsAre(HasSubstr("service.congestion_control: expected \"reno\"")));
}

TEST(Config, OnePortOnTwoAddressesIsFine) {
  EXPECT_THAT(mistakes("[[service]]\nkind = \"echo\"\nport = 7\naddress = \"198.18.0.2\"\n"
                       "[[service]]\nkind = \"discard\"\nport = 7\naddress = \"2001:2::2\"\n"),
              ElementsAre());
}

TEST(Config, KeysAreCheckedTogether) {
  EXPECT_THAT(mistakes("[tun]\nmtu = 1000"), ElementsAre(HasSubstr("f.toml:2:7: tun.mtu")));
  EXPECT_THAT(mistakes("[tun]\nmtu = 1000\naddress = [\"198.18.0.2\"]"), ElementsAre());
  EXPECT_THAT(mistakes("[engine]\nworkers = 2\nrx = \"dedicated\"\ncores = [0, 1]"),
              ElementsAre(HasSubstr("at least 3 CPU ids")));
}

TEST(Config, OverridesReplaceTheFile) {
  const std::vector<std::string> sets{"engine.workers=4",     "tcp.congestion_control=reno",
                                      "tcp.send_buffer=1MiB", "tun.address=[\"10.0.0.1\"]",
                                      "log.file=/tmp/a=b",    "engine.workers=5"};
  const ConfigResult r = parse_config("[engine]\nworkers = 99\n", "f.toml", sets);
  ASSERT_THAT(r.mistakes, ElementsAre());
  EXPECT_EQ(r.config.engine.workers, 5u);
  EXPECT_EQ(r.config.tcp.congestion_control, tcp::CcKind::reno);
  EXPECT_EQ(r.config.tcp.send_buffer, 1u << 20);
  EXPECT_EQ(r.config.tun.address.size(), 1u);
  EXPECT_EQ(r.config.log.file, "/tmp/a=b");
}

TEST(Config, OverridesAreNamedInMistakes) {
  EXPECT_THAT(mistakes("", {"engine.workers=65"}),
              ElementsAre("--set engine.workers: expected \"auto\" or 1..64, got 65"));
  EXPECT_THAT(mistakes("", {"engine.speed=1"}),
              ElementsAre(testing::StartsWith("--set engine.speed: expected a key")));
  EXPECT_THAT(mistakes("", {"workers=1"}), ElementsAre(HasSubstr("section.key=VALUE")));
  EXPECT_THAT(mistakes("", {"engine.workers"}), ElementsAre(HasSubstr("section.key=VALUE")));
  EXPECT_THAT(mistakes("", {"tun.mtu=1000"}), ElementsAre(testing::StartsWith("--set tun.mtu:")));
}

TEST(Config, AMissingFileIsOneMistake) {
  EXPECT_THAT(load_config("/nonexistent/p.toml").mistakes,
              ElementsAre("/nonexistent/p.toml: cannot read the configuration: No such file or "
                          "directory"));
  EXPECT_EQ(load_config("/").mistakes.size(), 1u);
}

TEST(Config, WhatIsPrintedParsesToTheSame) {
  const ConfigResult r = parse_config(
      "[log]\nfile = \"/tmp/\\\"q\\\" \\\\ \\u007f\"\n[tun]\nqueues = 3\n"
      "[[service]]\nkind = \"http\"\nport = 80\nroot = \"/srv\"\n"
      "[[service]]\nkind = \"echo\"\nport = 7\naddress = \"2001:2::2\"\n",
      "f.toml");
  ASSERT_TRUE(r.ok());
  const std::string text = to_toml(r.config);
  const ConfigResult again = parse_config(text, "again");
  EXPECT_THAT(again.mistakes, ElementsAre());
  EXPECT_EQ(to_toml(again.config), text);
  EXPECT_EQ(again.config.log.file, r.config.log.file);
  EXPECT_EQ(to_json(r.config)["service"][0]["root"], "/srv");
}

TEST(Config, SizesSurviveFormatting) {
  EXPECT_TRUE(rc::check("parse_size(format_size(n)) == n",
                        [](std::uint64_t n) { return parse_size(format_size(n)) == n; }));
  EXPECT_EQ(parse_size("6MiB"), 6u << 20);
  for (const char* text : {"", "6", "MiB", "6 MiB", "6MiBs", "-1B", "0x1B", "17179869184GiB",
                           "99999999999999999999B"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

TEST(Config, NoTextCrashesTheParser) {
  EXPECT_TRUE(rc::check("any text gives a result", [](const std::string& text) {
    parse_config(text, "f.toml", std::vector<std::string>{"engine.workers=" + text, text});
    return true;
  }));
}

}  // namespace
}  // namespace pollux
