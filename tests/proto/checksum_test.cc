// Every checksum routine against a bytewise reference, at any alignment, length and split.
#include "proto/wire/checksum.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>
#include <string>
#include <vector>

namespace pollux::wire {
namespace {

std::uint16_t reference(Bytes data) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < data.size(); ++i) {
    sum += i % 2 == 0 ? std::uint64_t{data[i]} << 8 : data[i];
  }
  while (sum >> 16) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<std::uint16_t>(sum);
}

/// What differs between routines in `data`, or "" when all agree with the reference.
std::string disagreement(Bytes data) {
  const std::uint16_t expected = reference(data);
  if (checksum_fold(data) != expected) return "best";
  if (checksum_fold_scalar(data) != expected) return "scalar";
  for (const char* name : {"scalar", "avx2", "avx512"}) {
    std::uint16_t sum = 0;
    if (checksum_fold_with(name, data, sum) && sum != expected) return name;
  }
  return "";
}

TEST(Checksum, MatchesTheExampleOfRfc1071) {  // RFC 1071 3
  const std::uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(checksum_fold(data), 0xddf2);
  ChecksumSum sum;
  sum.add(data);
  EXPECT_EQ(sum.checksum(), 0x220d);
}

TEST(Checksum, NamesOnlyWhatThisCpuCanRun) {
  std::uint16_t sum = 0;
  EXPECT_TRUE(checksum_fold_with("scalar", {}, sum));
  EXPECT_FALSE(checksum_fold_with("abacus", {}, sum));
}

TEST(Checksum, EveryShortLengthAtEveryAlignment) {
  std::mt19937 random(1);
  std::vector<std::uint8_t> memory(64 + 400);
  for (auto& b : memory) b = static_cast<std::uint8_t>(random());
  for (std::size_t at = 0; at < 64; ++at) {
    for (std::size_t n = 0; n <= 400; ++n) {
      ASSERT_EQ(disagreement(Bytes{memory}.subspan(at, n)), "") << at << ' ' << n;
    }
  }
}

TEST(Checksum, ExtremesDoNotOverflow) {
  // All ones is where a carry gets lost; zero must stay zero and never become 0xffff.
  for (const std::uint8_t fill : {0x00, 0x01, 0x80, 0xff}) {
    for (const std::size_t n : {1U, 63U, 64U, 65U, 1460U, 65535U, 1U << 20}) {
      const std::vector<std::uint8_t> data(n, fill);
      ASSERT_EQ(disagreement(data), "") << int{fill} << ' ' << n;
    }
  }
}

TEST(Checksum, AnySizeUpToASuperPacket) {
  EXPECT_TRUE(rc::check([](std::uint32_t seed) {
    std::mt19937 random(seed);
    // Exactly as long as the data, so that the sanitizer sees a read before or behind it.
    std::vector<std::uint8_t> data(random() % 65536);
    for (auto& b : data) b = static_cast<std::uint8_t>(random());
    RC_ASSERT(disagreement(data) == "");
    const std::size_t skip = data.size() < 64 ? 0 : random() % 64;
    RC_ASSERT(disagreement(Bytes{data}.subspan(skip)) == "");
  }));
}

TEST(ChecksumSum, PiecesOfAnyLengthSumLikeTheWhole) {
  EXPECT_TRUE(rc::check([](const std::vector<std::vector<std::uint8_t>>& pieces) {
    std::vector<std::uint8_t> whole;
    ChecksumSum sum;
    for (const auto& piece : pieces) {
      sum.add(piece);
      whole.insert(whole.end(), piece.begin(), piece.end());
    }
    return sum.fold() == reference(whole);
  }));
}

TEST(ChecksumSum, NumbersAddLikeTheirOctets) {
  EXPECT_TRUE(rc::check([](std::uint16_t a, std::uint32_t b) {
    std::uint8_t octets[6];
    store_be16(octets, a);
    store_be32(octets + 2, b);
    ChecksumSum sum;
    sum.add_be16(a);
    sum.add_be32(b);
    return sum.fold() == reference(octets);
  }));
}

TEST(ChecksumSum, PseudoHeaderIsTheOneOfTheRfcs) {
  const IpAddr a4 = IpAddr::v4(0xc0000201), b4 = IpAddr::v4(0xc6336402);
  const std::uint8_t v4[] = {192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0xab, 0xcd};  // RFC 9293 3.1
  ChecksumSum sum4;
  add_pseudo_header(sum4, a4, b4, 6, 0xabcd);
  EXPECT_EQ(sum4.fold(), reference(v4));

  std::vector<std::uint8_t> v6;  // RFC 8200 8.1
  for (unsigned i = 0; i < 32; ++i) v6.push_back(static_cast<std::uint8_t>(0x20 + i * 7));
  ChecksumSum sum6;
  add_pseudo_header(sum6, IpAddr::from_v6_octets(v6.data()), IpAddr::from_v6_octets(&v6[16]), 58,
                    0x12345);
  v6.insert(v6.end(), {0, 1, 0x23, 0x45, 0, 0, 0, 58});
  EXPECT_EQ(sum6.fold(), reference(v6));
}

}  // namespace
}  // namespace pollux::wire
