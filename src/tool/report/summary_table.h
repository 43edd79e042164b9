// What the parts of the summary are written with.
#ifndef CLRHM_TOOL_REPORT_SUMMARY_TABLE_H
#define CLRHM_TOOL_REPORT_SUMMARY_TABLE_H

#include <clr_host_memory/clr_host_memory.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace clr_host_memory::tool {

using Json = nlohmann::ordered_json;

struct Names {
  const char* key;    // in JSON
  const char* shown;  // in the table
};
inline constexpr std::array<Names, kClrHostMemoryLevelCount> kLevels{{
    {"task_critical", "eTaskCritical"},
    {"app_domain_critical", "eAppDomainCritical"},
    {"process_critical", "eProcessCritical"},
}};

// Lines of a label and a value, indented by two blanks.
class Table {
 public:
  void Row(const std::string& label, const std::string& value);
  // count right-aligned, so that counts below each other can be compared.
  void Count(const std::string& label, std::uint64_t count, const std::string& note);
  void Line(const std::string& line) { text_ += line + '\n'; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// A limit or a headroom; null is none.
[[nodiscard]] Json BytesOrNull(std::uint64_t bytes);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_SUMMARY_TABLE_H
