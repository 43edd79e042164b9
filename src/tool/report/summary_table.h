// Helpers that the parts of the summary use.
#ifndef CLRHM_TOOL_REPORT_SUMMARY_TABLE_H
#define CLRHM_TOOL_REPORT_SUMMARY_TABLE_H

#include <clr_host_memory/memory_manager_abi.h>

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

// A text of lines, each a label and a value, indented by two blanks.
class Table {
 public:
  void Row(const std::string& label, const std::string& value);
  // Adds a row with count right-aligned, so that counts in successive rows can be compared.
  void Count(const std::string& label, std::uint64_t count, const std::string& note);
  void Line(const std::string& line) { text_ += line + '\n'; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Returns a limit or a headroom as JSON; null means none.
[[nodiscard]] Json BytesOrNull(std::uint64_t bytes);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_SUMMARY_TABLE_H
