#include "tool/report/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>

#include "clrhm_test_paths.h"
#include "tool/run/process_end.h"
#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

Summary ExampleSummary() {
  Summary summary;
  summary.runtime_name = ".NET";
  summary.runtime_version = "8.0.33";
  summary.runtime_path = "C:\\dotnet\\coreclr.dll";
  summary.app = "C:\\App.dll";
  summary.exit_code = 42;
  summary.ended_by = EndedByText(EndedBy::kReturn);
  summary.elapsed_milliseconds = 120;
  ManagerFigures figures;
  figures.statistics.limit = 128 << 20;
  figures.statistics.app_domain_headroom = 4096;
  figures.statistics.process_headroom = 8192;
  figures.statistics.availability = eMemoryAvailableNeutral;
  figures.statistics.charged = 100 << 20;
  figures.statistics.peak_charged = 120 << 20;
  figures.statistics.calls[kClrHostMemoryVirtualAlloc][kClrHostMemoryOk] = 1234;
  figures.statistics.calls[kClrHostMemoryVirtualAlloc][kClrHostMemoryOutOfMemory] = 5;
  figures.statistics.refusals[eTaskCritical][kClrHostMemoryOutOfMemory] = 5;
  figures.statistics.limit_refusals[eTaskCritical] = 4;
  figures.statistics.placement_refusals = 6;
  figures.audit.charged = 104857600;
  figures.audit.committed = 104857600;
  summary.manager = figures;
  summary.bridge =
      BridgeFigures{.modules = {{"C:\\dotnet\\coreclr.dll", 2, {"VirtualAlloc", "VirtualFree"}}}, .calls = 9999};
  summary.bridge->purposes.requests[kClrHostMemoryGcHeap] = 77;
  summary.bridge->purposes.refusals[kClrHostMemoryGcHeap] = 5;
  summary.bridge->purposes.requests[kClrHostMemoryCodeHeap] = 8;
  return summary;
}

TEST(SummaryTable, ListsFiguresAndOmitsUnusedRows) {
  const std::string table = FormatTable(ExampleSummary());
  for (const char* part :
       {"clrmem: .NET 8.0.33\n", "returned from Main, exit code 42", "128.0 MiB",
        "100.0 MiB now, 120.0 MiB at the peak", "1,239  5 E_OUTOFMEMORY", "5 E_OUTOFMEMORY; 4 by the limit",
        "requests for an occupied address", "not counted as refused", "9,999 calls through 1 module", "coreclr.dll",
        "GC heap", "77  5 refused\n", "code heap", " 8\n",
        "audit: ledger 104,857,600 bytes, VirtualQuery 104,857,600 bytes, mismatch 0 bytes\n"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  EXPECT_THAT(table, Not(HasSubstr("DebugAlloc"))) << "methods that were not called are left out";
  EXPECT_THAT(table, Not(HasSubstr("loader heap"))) << "and so are purposes without requests";
}

TEST(SummaryTable, StatesThatTheManagerWasLeftOut) {
  Summary summary = ExampleSummary();
  summary.manager.reset();
  summary.bridge.reset();
  const std::string table = FormatTable(summary);
  EXPECT_THAT(table, HasSubstr("without the memory manager (--no-bridge)"));
  EXPECT_THAT(table, Not(HasSubstr("audit")));
}

TEST(SummaryTable, ShowsCrashCodesInHexadecimal) {
  Summary summary = ExampleSummary();
  summary.exit_code = 0xE0434352;
  EXPECT_THAT(FormatTable(summary), HasSubstr("exit code 0xE0434352"));
  summary.exit_code.reset();
  EXPECT_THAT(FormatTable(summary), HasSubstr("exit code unknown"));
}

TEST(SummaryJson, HasExactBytesUnderDocumentedKeys) {
  const nlohmann::ordered_json json = ToJson(ExampleSummary());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["runtime"]["version"], "8.0.33");
  EXPECT_EQ(json["exit_code"], 42);
  EXPECT_EQ(json["ended_by"], "returned from Main");
  EXPECT_EQ(json["managed_by_host"], true);
  EXPECT_EQ(json["limit_bytes"], 128 << 20);
  EXPECT_EQ(json["app_domain_headroom_bytes"], 4096);
  EXPECT_EQ(json["process_headroom_bytes"], 8192);
  EXPECT_EQ(json["memory"]["peak_charged_bytes"], 120 << 20);
  EXPECT_EQ(json["calls"]["virtual_alloc"]["total"], 1239);
  EXPECT_EQ(json["calls"]["virtual_alloc"]["out_of_memory"], 5);
  EXPECT_EQ(json["calls"].size(), static_cast<std::size_t>(kClrHostMemoryMethodCount));
  EXPECT_EQ(json["refusals"]["task_critical"]["out_of_memory"], 5);
  EXPECT_EQ(json["limit_refusals"]["task_critical"], 4);
  EXPECT_EQ(json["placement_refusals"], 6);
  EXPECT_EQ(json["audit"]["ledger_bytes"], 104857600);
  EXPECT_EQ(json["audit"]["mismatch_bytes"], 0);
  EXPECT_EQ(json["bridge"]["calls"], 9999);
  EXPECT_EQ(json["bridge"]["modules"][0]["imports"][1], "VirtualFree");
}

// Expects each key of the JSON in docs/tool.md. The document writes keys, methods and results as code, such as
// `memory.charged_bytes` or `.heap_bytes`.
void ExpectKeysIn(const nlohmann::ordered_json& json, const std::string& document) {
  for (const auto& [key, value] : json.items()) {
    if (json.is_object()) {
      EXPECT_TRUE(std::regex_search(document, std::regex("[`.]" + key + "[`.[]"))) << key << " is not in docs/tool.md";
    }
    if (value.is_structured()) ExpectKeysIn(value, document);
  }
}

TEST(SummaryJson, EveryKeyIsDocumented) {
  std::ifstream stream(std::string(clrhm_test::kSourceDirectory) + "\\docs\\tool.md");
  const std::string document(std::istreambuf_iterator<char>(stream), {});
  ASSERT_THAT(document, HasSubstr("# clrmem"));
  Summary summary = ExampleSummary();
  summary.manager->statistics.latch_cause = kClrHostMemoryLatchedByOs;
  summary.policy.limit_changes.resize(1);
  summary.policy.events.over_limit_periods.resize(1);
  summary.policy.events.pressure_changes.resize(1);
  summary.policy.events.first_thrash.emplace();
  summary.accounting.emplace();
  summary.accounting->not_hosted.by_image = {{"ntdll.dll", 4096}};
  ExpectKeysIn(ToJson(summary), document);
}

TEST(SummaryJson, NoLimitIsNull) {
  Summary summary = ExampleSummary();
  summary.manager->statistics.limit = CLR_HOST_MEMORY_NO_LIMIT;
  EXPECT_TRUE(ToJson(summary)["limit_bytes"].is_null());
}

class SummaryFileTest : public testing::Test {
 protected:
  SummaryFileTest() : folder_(fs::temp_directory_path() / "clrhm-summary-file") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~SummaryFileTest() override { fs::remove_all(folder_); }
  [[nodiscard]] std::size_t FileCount() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

TEST_F(SummaryFileTest, AppearsOnlyAfterCommit) {
  const fs::path path = folder_ / "summary.json";
  SummaryFile file(path);
  EXPECT_FALSE(fs::exists(path));
  file.Commit("{}\n");
  std::ifstream stream(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "{}\n");
  EXPECT_EQ(FileCount(), 1u);
}

TEST_F(SummaryFileTest, ReplacesAnOlderFile) {
  const fs::path path = folder_ / "summary.json";
  std::ofstream(path) << "an older and longer summary";
  SummaryFile(path).Commit("new");
  std::ifstream stream(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), "new");
}

TEST_F(SummaryFileTest, LeavesNoFileWithoutCommit) {
  {
    const SummaryFile file(folder_ / "summary.json");
  }
  EXPECT_EQ(FileCount(), 0u);
}

TEST_F(SummaryFileTest, RefusesUnwritablePaths) {
  EXPECT_THROW(SummaryFile{folder_}, ToolError);
  EXPECT_THROW(SummaryFile{folder_ / "no" / "such.json"}, ToolError);
  EXPECT_THROW(SummaryFile{fs::path()}, ToolError);
}

}  // namespace
}  // namespace clr_host_memory::tool
