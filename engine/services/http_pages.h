// The built-in pages: the files of pages/, put into the program when it is built.
#pragma once

#include <string_view>

namespace pollux {

struct HttpPage {
  std::string_view name;     ///< relative: "", "live.js"
  std::string_view content;  ///< static memory
};

/// `live`: with the live page at "", else with the plain one. Empty name and content: no such page.
HttpPage http_page(std::string_view name, bool live);

}  // namespace pollux
