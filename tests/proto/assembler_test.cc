#include "proto/tcp/assembler.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace pollux::tcp {
namespace {

/// Makes buffers and counts those not yet returned.
class CountingRecycler : public Recycler {
 public:
  void recycle(Buffer* buffer) noexcept override {
    --out_;
    delete[] buffer->data;
    delete buffer;
  }
  Slice make(const std::string& text) {
    auto* buffer = new Buffer;
    buffer->data = new std::uint8_t[text.size()];
    buffer->capacity = static_cast<std::uint32_t>(text.size());
    buffer->recycler = this;
    std::copy(text.begin(), text.end(), buffer->data);
    ++out_;
    return Slice(buffer, Bytes{buffer->data, text.size()});
  }
  int out() const { return out_; }

 private:
  int out_ = 0;
};

std::string text(const Slice& s) { return {s.bytes().begin(), s.bytes().end()}; }

std::vector<wire::SackBlock> sack(Assembler& a, std::size_t most = 4) {
  std::vector<wire::SackBlock> out(most);
  out.resize(a.sack_blocks(out));
  return out;
}

wire::SackBlock range(std::uint32_t begin, std::uint32_t end) { return {Seq{begin}, Seq{end}}; }

using Ranges = std::vector<wire::SackBlock>;

class AssemblerTest : public testing::Test {
 protected:
  ~AssemblerTest() override {
    a_.clear();
    EXPECT_EQ(home_.out(), 0) << "a buffer did not come home";
  }
  Assembler::Insert put(std::uint32_t at, const std::string& s) {
    return a_.insert(Seq{at}, home_.make(s));
  }
  std::string take(std::uint32_t next) { return text(a_.take(Seq{next})); }

  CountingRecycler home_;
  Assembler a_;
};

using Insert = Assembler::Insert;

TEST_F(AssemblerTest, HoldsAPieceUntilTheGapBeforeItFills) {
  EXPECT_EQ(put(110, "klmno"), Insert::stored);
  EXPECT_EQ(take(100), "");
  EXPECT_EQ(a_.bytes(), 5U);
  EXPECT_EQ(take(110), "klmno");
  EXPECT_TRUE(a_.empty());
  EXPECT_EQ(a_.bytes(), 0U);
}

TEST_F(AssemblerTest, TrimsWhatWasDeliveredAlready) {
  put(110, "klmno");
  EXPECT_EQ(take(112), "mno");
}

TEST_F(AssemblerTest, DropsPiecesThatWereOvertaken) {
  put(110, "k");
  put(112, "m");
  put(120, "u");
  EXPECT_EQ(take(115), "");
  EXPECT_EQ(a_.pieces(), 1U);
  EXPECT_EQ(a_.bytes(), 1U);
}

TEST_F(AssemblerTest, FirstAcceptedOctetsWin) {
  put(102, "CD");
  put(106, "GH");
  EXPECT_EQ(put(100, "abcdefghij"), Insert::stored);
  EXPECT_EQ(a_.bytes(), 10U);
  EXPECT_EQ(a_.pieces(), 5U);
  EXPECT_EQ(take(100), "ab");
  EXPECT_EQ(take(102), "CD");
  EXPECT_EQ(take(104), "ef");
  EXPECT_EQ(take(106), "GH");
  EXPECT_EQ(take(108), "ij");
}

TEST_F(AssemblerTest, WhatIsThereIsADuplicate) {
  put(100, "abcd");
  put(104, "efgh");
  EXPECT_EQ(put(102, "wxyz"), Insert::duplicate);
  EXPECT_EQ(put(100, ""), Insert::duplicate);
  EXPECT_EQ(a_.bytes(), 8U);
}

TEST_F(AssemblerTest, WorksAcrossTheWrap) {
  put(0xFFFFFFFEU, "abcd");
  put(4, "ef");
  EXPECT_EQ(put(0, "wxyzwx"), Insert::stored);
  EXPECT_EQ(take(0xFFFFFFFEU), "abcd");
  EXPECT_EQ(take(2), "yz");
  EXPECT_EQ(take(4), "ef");
}

TEST_F(AssemblerTest, SackReportsTheLatestFirst) {  // RFC 2018 4
  put(10, "a");
  put(20, "b");
  put(30, "c");
  EXPECT_EQ(sack(a_), (Ranges{range(30, 31), range(20, 21), range(10, 11)}));
  put(11, "d");
  EXPECT_EQ(sack(a_), (Ranges{range(10, 12), range(30, 31), range(20, 21)}));
  put(20, "x");  // a duplicate, and still the segment that triggers the ACK
  EXPECT_EQ(sack(a_, 2), (Ranges{range(20, 21), range(10, 12)}));
  put(12, "ijklmnopqrstuvwxyz");
  EXPECT_EQ(sack(a_), (Ranges{range(10, 31)}));
  take(10);
  EXPECT_EQ(sack(a_), (Ranges{range(11, 31)}));
}

TEST_F(AssemblerTest, ARunOfManyPiecesIsOneSackRange) {
  for (std::uint32_t i = 0; i < 500; ++i) put(1000 + 2 * i, "xy");
  for (std::uint32_t i = 0; i < 300; ++i) put(3000 - 2 * i, "xy");
  EXPECT_EQ(sack(a_), (Ranges{range(2402, 3002), range(1000, 2000)}));
}

TEST_F(AssemblerTest, ANoRoomInsertStoresNothing) {
  for (std::uint32_t i = 0; i + 1 < Assembler::kMaxPieces; ++i) {
    ASSERT_EQ(put(1000 + 2 * i, "x"), Insert::stored);
  }
  EXPECT_EQ(put(1000, "xyxyx"), Insert::no_room);  // two gaps, one place
  EXPECT_EQ(a_.pieces(), Assembler::kMaxPieces - 1);
  EXPECT_EQ(a_.bytes(), Assembler::kMaxPieces - 1);
  EXPECT_EQ(put(1000, "xyx"), Insert::stored);
  EXPECT_EQ(put(1003, "y"), Insert::no_room);
  EXPECT_EQ(put(1000, "www"), Insert::duplicate);
}

TEST_F(AssemblerTest, ACopyHoldsReferencesOfItsOwn) {
  for (std::uint32_t i = 0; i < 100; ++i) put(1000 + 2 * i, "x");
  take(1000);
  Assembler copy(a_);
  EXPECT_EQ(sack(copy), sack(a_));
  a_.clear();
  EXPECT_EQ(home_.out(), 99);
  EXPECT_EQ(copy.bytes(), 99U);
  EXPECT_EQ(copy.pieces(), 99U);
  EXPECT_EQ(text(copy.take(Seq{1002})), "x");
}

TEST_F(AssemblerTest, OnePayloadFillsEveryHole) {
  for (std::uint32_t i = 0; i < 500; ++i) put(1000 + 2 * i, "x");
  EXPECT_EQ(put(999, std::string(1001, 'y')), Insert::stored);
  EXPECT_EQ(a_.bytes(), 1001U);
  EXPECT_EQ(sack(a_), (Ranges{range(999, 2000)}));
  std::string all;
  while (!a_.empty()) all += take(999 + static_cast<std::uint32_t>(all.size()));
  ASSERT_EQ(all.size(), 1001U);
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], i % 2 == 0 ? 'y' : 'x');
}

/// A byte map: offset from the base -> the octet that was accepted first.
struct Model {
  std::map<std::uint32_t, char> bytes;
  wire::SackBlock around(Seq base, std::uint32_t at) const {
    std::uint32_t begin = at;
    std::uint32_t end = at + 1;
    while (begin > 0 && bytes.count(begin - 1) != 0) --begin;
    while (bytes.count(end) != 0) ++end;
    return {base + begin, base + end};
  }
};

void insert_step(Assembler& a, Model& m, CountingRecycler& home, Seq base, std::uint32_t next,
                 std::uint32_t span) {
  const auto at = next + *rc::gen::inRange<std::uint32_t>(0, span);
  const auto size = *rc::gen::weightedOneOf<std::uint32_t>(
      {{4, rc::gen::inRange<std::uint32_t>(1, 4)}, {1, rc::gen::inRange<std::uint32_t>(1, span)}});
  const auto seed = *rc::gen::arbitrary<std::uint8_t>();
  std::string payload(size, '\0');
  for (std::uint32_t i = 0; i < size; ++i) payload[i] = static_cast<char>(seed + 31 * i);
  const bool news = [&] {
    for (std::uint32_t i = 0; i < size; ++i) {
      if (m.bytes.count(at + i) == 0) return true;
    }
    return false;
  }();
  const auto pieces = a.pieces();
  const auto result = a.insert(base + at, home.make(payload));
  RC_ASSERT(a.pieces() <= Assembler::kMaxPieces);
  if (result == Insert::no_room) {
    RC_ASSERT(a.pieces() == pieces);
    return;
  }
  RC_ASSERT((result == Insert::stored) == news);
  for (std::uint32_t i = 0; i < size; ++i) m.bytes.emplace(at + i, payload[i]);
  RC_ASSERT(sack(a, 3).at(0) == m.around(base, at));
}

void take_step(Assembler& a, Model& m, Seq base, std::uint32_t& next) {
  if (*rc::gen::inRange(0, 3) == 0) next += *rc::gen::inRange<std::uint32_t>(0, 5);
  m.bytes.erase(m.bytes.begin(), m.bytes.lower_bound(next));
  const std::string got = text(a.take(base + next));
  RC_ASSERT(got.empty() == (m.bytes.count(next) == 0));
  for (const char c : got) {
    const auto it = m.bytes.find(next++);
    RC_ASSERT(it != m.bytes.end());
    RC_ASSERT(it->second == c);
    m.bytes.erase(it);
  }
}

void check_state(Assembler& a, const Model& m, Seq base) {
  RC_ASSERT(a.bytes() == m.bytes.size());
  RC_ASSERT(a.empty() == m.bytes.empty());
  const auto blocks = sack(a);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    RC_ASSERT(blocks[i] == m.around(base, distance(base, blocks[i].begin)));
    RC_ASSERT(std::count(blocks.begin(), blocks.end(), blocks[i]) == 1);
  }
}

void run_against_model(std::uint32_t span, int steps) {
  CountingRecycler home;
  {
    Assembler a;
    Model m;
    const Seq base{*rc::gen::weightedOneOf<std::uint32_t>(
        {{1, rc::gen::arbitrary<std::uint32_t>()},
         {1, rc::gen::inRange<std::uint32_t>(0xFFFFFF00U, 0xFFFFFFFFU)}})};
    std::uint32_t next = 0;
    for (int i = 0; i < steps; ++i) {
      if (*rc::gen::inRange(0, 6) != 0) {
        insert_step(a, m, home, base, next, span);
      } else {
        take_step(a, m, base, next);
      }
      if (span < 100 || i % 16 == 0) check_state(a, m, base);
    }
  }
  RC_ASSERT(home.out() == 0);
}

TEST(AssemblerProperty, HoldsWhatAByteMapHolds) {
  EXPECT_TRUE(rc::check([] { run_against_model(60, 80); }));
}

TEST(AssemblerProperty, HoldsWhatAByteMapHoldsOverManyBlocks) {
  EXPECT_TRUE(rc::check([] { run_against_model(1500, 300); }));
}

}  // namespace
}  // namespace pollux::tcp
