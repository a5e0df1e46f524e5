// All workers, as one of them reaches the others: services whose connections are spread over the
// cores tell each other by errands. Off the packet path: an errand takes locked instructions.
#pragma once

#include <cstddef>

#include "workers/mailbox.h"

namespace pollux {

class Crew {
 public:
  /// Runs `errand` on worker `i`'s thread, between its packets and the end of its turn. From any
  /// thread; never waits. Errands from one thread to one worker run in their order.
  virtual void post(std::size_t i, Mailbox::Errand errand) = 0;

 protected:
  ~Crew() = default;
};

}  // namespace pollux
