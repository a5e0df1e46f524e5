// What the loop serves beside packets, and connections that are being opened.
#include "workers/worker.h"

#include <gtest/gtest.h>

#include "tests/workers/shard_fixture.h"

namespace pollux {
namespace {

class NoPackets final : public RxSource {
 public:
  std::size_t poll(std::span<RxPacket>) noexcept override { return 0; }
};

class NoSleep final : public Sleeper {
 public:
  void prepare() noexcept override {}
  void sleep(Instant) noexcept override {}
  void done() noexcept override {}
};

/// Writes on a connection when polled, as a relay does.
class WritingSource final : public EventSource {
 public:
  bool poll(Instant now) noexcept override {
    polled_at.push_back(now);
    if (opens == nullptr) return false;
    EXPECT_NE(opens->connect(now, kHere, {kThere, 80}, *service), nullptr);
    return true;
  }
  void activate(bool on) { set_active(on); }
  std::vector<Instant> polled_at;
  Shard* opens = nullptr;
  Service* service = nullptr;
};

Instant no_clock() { return {}; }

class WorkerTest : public ShardTest {
 protected:
  NoPackets source_;
  NoSleep sleeper_;
  WritingSource events_;
};

TEST_F(WorkerTest, PollsAnEventSourceOnlyWhileItIsActive) {
  Worker worker({}, shard(), source_, sleeper_, &no_clock);
  EXPECT_FALSE(worker.turn(now));  // without any
  worker.set_event_source(events_);
  EXPECT_FALSE(worker.turn(now));
  EXPECT_TRUE(events_.polled_at.empty());
  events_.activate(true);
  EXPECT_FALSE(worker.turn(now + 1s));
  EXPECT_EQ(events_.polled_at, std::vector{now + 1s});
  events_.activate(false);
  worker.turn(now + 2s);
  EXPECT_EQ(events_.polled_at.size(), 1U);
}

TEST_F(WorkerTest, WhatAnEventSourceWritesGoesOutInTheSameTurn) {
  Worker worker({}, shard(), source_, sleeper_, &no_clock);
  worker.set_event_source(events_);
  events_.activate(true);
  events_.opens = &shard();
  events_.service = &service;
  EXPECT_TRUE(worker.turn(now));
  ASSERT_EQ(port.sent.size(), 1U);
  EXPECT_TRUE(port.sent[0].tcp.has(flag::syn));
}

TEST_F(WorkerTest, ErrandsComeInBatchesAndMakeATurnABusyOne) {
  Worker worker({}, shard(), source_, sleeper_, &no_clock);
  std::size_t run = 0;
  std::vector<Instant> at;
  for (std::size_t i = 0; i < limits::kBatch + 3; ++i) {
    worker.mailbox().post([&](Shard& s) {
      ++run;
      at.push_back(s.now());
    });
  }
  EXPECT_TRUE(worker.turn(now + 1s));
  EXPECT_EQ(run, limits::kBatch);
  EXPECT_TRUE(worker.turn(now + 2s));
  EXPECT_EQ(run, limits::kBatch + 3);
  EXPECT_FALSE(worker.turn(now + 3s));
  // Not the time of the last packet, which may be long ago.
  EXPECT_EQ(at.front(), now + 1s);
  EXPECT_EQ(at.back(), now + 2s);
}

/// Gives up opening when its timer comes.
class Impatient final : public Service {
 public:
  std::string_view name() const override { return "impatient"; }
  void on_timer(Stream& s) override {
    ++timers;
    s.abort();
  }
  void on_closed(Stream&, CloseReason r) override { reason = r; }
  int timers = 0;
  std::optional<CloseReason> reason;
};

TEST_F(WorkerTest, ATimerAlsoComesWhileAConnectionIsBeingOpened) {
  Impatient impatient;
  ConnEntry* e = shard().connect(now, kHere, {kThere, 80}, impatient);
  ASSERT_NE(e, nullptr);
  Stream(shard(), *e).set_timer(now + 500ms);
  shard().finish_turn(now);
  shard().on_timers(now + 700ms);  // before the SYN is sent again
  shard().finish_turn(now + 700ms);
  EXPECT_EQ(impatient.timers, 1);
  EXPECT_EQ(impatient.reason, CloseReason::aborted);
  EXPECT_EQ(shard().connections(), 0U);
}

TEST_F(WorkerTest, NothingIsOpenedFromAnAddressThatTheEngineHasNot) {
  options.addresses = {{kHere, 32}};
  EXPECT_EQ(shard().connect(now, {}, {kThere6, 80}, service), nullptr);
  EXPECT_NE(shard().connect(now, {}, {kThere, 80}, service), nullptr);
}

TEST_F(WorkerTest, NothingIsOpenedToTheEngineItselfButToNeighboursInItsPrefix) {
  options.addresses = {{kHere, 32}, *Prefix::parse("198.18.7.0/24")};
  EXPECT_EQ(shard().connect(now, {}, {kHere, 80}, service), nullptr);
  EXPECT_NE(shard().connect(now, {}, {*IpAddr::parse("198.18.7.1"), 80}, service), nullptr);
}

}  // namespace
}  // namespace pollux
