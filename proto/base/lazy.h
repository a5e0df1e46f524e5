// A value that few objects need: until it is first written it takes a pointer and reads as T{}.
#pragma once

#include <memory>

namespace pollux {

/// Copies are deep. The const side never allocates; own() does, once.
template <class T>
class Lazy {
 public:
  Lazy() = default;
  explicit Lazy(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Lazy(const Lazy& o) : value_(o.value_ ? std::make_unique<T>(*o.value_) : nullptr) {}
  Lazy(Lazy&&) noexcept = default;
  Lazy& operator=(Lazy o) noexcept {
    value_ = std::move(o.value_);
    return *this;
  }
  ~Lazy() = default;

  /// T{} while nothing was written.
  const T& operator*() const { return value_ ? *value_ : kNone; }
  const T* operator->() const { return &**this; }
  T& own() {
    if (!value_) value_ = std::make_unique<T>();
    return *value_;
  }
  bool exists() const { return value_ != nullptr; }
  void reset() { value_.reset(); }
  std::size_t bookkeeping() const { return value_ ? sizeof(T) : 0; }  ///< octets

 private:
  // Not local to a function: its first use would be looked for, under a lock, at every one.
  static inline const T kNone{};
  std::unique_ptr<T> value_;
};

}  // namespace pollux
