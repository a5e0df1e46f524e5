#include "engine/log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace pollux::engine {
namespace {

constexpr std::size_t kQueue = 8192;  ///< records that may wait for the writer

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

spdlog::sink_ptr make_sink(const LogConfig& config) {
  if (config.file.empty()) return std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  errno = 0;
  try {
    return std::make_shared<spdlog::sinks::basic_file_sink_mt>(config.file);
  } catch (const spdlog::spdlog_ex&) {
    const char* const cause = errno != 0 ? std::strerror(errno) : "unknown error";
    throw std::runtime_error("cannot open the log file " + config.file + ": " + cause +
                             "; set log.file to a path that can be written");
  }
}

}  // namespace

Logging::Logging(const LogConfig& config) {
  auto sink = make_sink(config);
  spdlog::init_thread_pool(kQueue, 1);
  // A flood of records overwrites the oldest: a caller never blocks.
  auto logger =
      std::make_shared<spdlog::async_logger>("pollux", std::move(sink), spdlog::thread_pool(),
                                             spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(level_of(config.level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v");
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

Logging::~Logging() {
  spdlog::shutdown();
  // shutdown() leaves no default logger at all: a late record is dropped, not a null dereference.
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("pollux"));
}

}  // namespace pollux::engine
