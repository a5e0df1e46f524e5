// What `pollux top` shows: rates out of the answers to "show top", as text for a terminal. Without
// the terminal itself, so that it can be tested.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pollux::engine {

enum class TopSort : std::uint8_t { rate, in, out, rtt, retransmits };

struct TopLayout {
  std::size_t width = 80;  ///< columns; longer lines are cut
  std::size_t height = 0;  ///< lines; 0: as many as there are
  bool utf8 = true;        ///< block characters for the history, else ASCII
  TopSort sort = TopSort::rate;
  bool keys = false;  ///< a line that names them
};

class TopView {
 public:
  static constexpr std::size_t kHistory = 30;  ///< samples of a worker

  /// The newest answer. One of another daemon (its clock went back) begins anew.
  void add(nlohmann::json answer);
  /// Rates need two answers; with one they are "-".
  std::string render(const TopLayout& layout) const;

 private:
  struct Connection;
  double seconds() const;
  std::vector<Connection> connections(TopSort sort) const;
  std::string heading(const TopLayout& layout) const;
  std::string workers(const TopLayout& layout) const;
  std::string list(const TopLayout& layout, std::size_t lines) const;

  nlohmann::json before_, now_;
  std::vector<std::deque<double>> history_;  ///< by worker: bit/s both ways
};

/// One character for each value, the highest for the largest; `utf8`: block characters.
std::string sparkline(const std::deque<double>& values, bool utf8);

}  // namespace pollux::engine
