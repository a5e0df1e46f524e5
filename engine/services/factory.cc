#include "engine/services/factory.h"

#include "engine/services/chargen.h"
#include "engine/services/discard.h"
#include "engine/services/echo.h"
#include "engine/services/http.h"

namespace pollux {

std::unique_ptr<Service> make_service(const ServiceOptions& options) {
  if (options.kind == "echo") return std::make_unique<EchoService>();
  if (options.kind == "discard") return std::make_unique<DiscardService>();
  if (options.kind == "chargen") return std::make_unique<ChargenService>();
  if (options.kind == "http") return std::make_unique<HttpService>(options.root);
  return nullptr;
}

}  // namespace pollux
