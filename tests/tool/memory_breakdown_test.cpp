// Tests the sums of the accounting report over tables made by hand.
#include "tool/run/memory_breakdown.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tool/report/breakdown_summary.h"

namespace clr_host_memory::tool {
namespace {

using testing::HasSubstr;

constexpr MemoryRun Private(std::uint64_t base, std::uint64_t size, std::uint64_t hosted = 0, std::size_t purpose = 0) {
  return {base, size, MemoryType::kPrivate, true, false, hosted, purpose};
}

std::uint64_t PrivateRows(const MemoryBreakdown& accounting) {
  return HostedBytes(accounting) - accounting.hosted.mapped + NotHostedBytes(accounting);
}

// Expects the rows and the unexplained bytes to add up to the process's figure.
void ExpectExact(const MemoryBreakdown& accounting) {
  EXPECT_EQ(static_cast<std::int64_t>(accounting.process),
            static_cast<std::int64_t>(PrivateRows(accounting)) + accounting.unexplained);
}

TEST(MemoryBreakdown, CountsEachPageInExactlyOneRow) {
  const std::vector<MemoryRun> runs{
      Private(0x10000, 4096),                                        // a stack
      Private(0x20000, 8192),                                        // a heap
      Private(0x30000, 65536, 65536, 1),                             // the GC's heap
      Private(0x40000, 12288, 8192, 4),                              // a loader heap, one page of it outside the ledger
      {0x50000, 16384, MemoryType::kPrivate, true, true, 16384, 3},  // code
      {0x60000, 20480, MemoryType::kMapped, true, false, 4096, 4},   // a view
      {0x70000, 4096, MemoryType::kImage, false, true, 0, 0},        // an image's code
      {0x70000, 8192, MemoryType::kImage, true, false, 0, 0},        // and its data
      {0x80000, 12288, MemoryType::kImage, true, false, 0, 0},       // another image's data
      Private(0x90000, 100 * 4096),
      Private(0xA0000, 24576),  // a TEB
  };
  const KnownAllocations known_allocations{.stacks = {0x10000},
                                           .thread_data = {0xA0000},
                                           .heaps = {0x20000},
                                           .images = {{0x70000, "a.dll"}, {0x80000, "b.dll"}}};
  const MemoryBreakdown accounting =
      BreakDown(runs, known_allocations,
                {.process = 1000000, .hosted_pages = 65536 + 8192 + 16384 + 12288, .hosted_heap = 0, .own = 40960});
  EXPECT_EQ(accounting.hosted.data, 65536u + 8192);
  EXPECT_EQ(accounting.hosted.executable, 16384u);
  EXPECT_EQ(accounting.hosted.image, 0u);
  EXPECT_EQ(accounting.hosted.mapped, 12288u) << "charged pages other than private ones";
  EXPECT_EQ(accounting.hosted.by_purpose[1], 65536u);
  EXPECT_EQ(accounting.hosted.by_purpose[3], 16384u);
  EXPECT_EQ(accounting.hosted.by_purpose[4], 8192u);
  EXPECT_EQ(accounting.not_hosted.stacks, 4096u);
  EXPECT_EQ(accounting.not_hosted.stack_count, 1u);
  EXPECT_EQ(accounting.not_hosted.thread_data, 24576u);
  EXPECT_EQ(accounting.not_hosted.heaps, 8192u);
  EXPECT_EQ(accounting.not_hosted.images, 20480u) << "unmodified pages of the file are not committed";
  ASSERT_EQ(accounting.not_hosted.by_image.size(), 2u);
  EXPECT_EQ(accounting.not_hosted.by_image[0].name, "b.dll");
  EXPECT_EQ(accounting.not_hosted.by_image[0].bytes, 12288u);
  EXPECT_EQ(accounting.not_hosted.own, 40960u);
  EXPECT_EQ(accounting.not_hosted.unknown, 4096u + 100 * 4096 - 40960);
  ExpectExact(accounting);
}

TEST(MemoryBreakdown, SubtractsOwnBytesFromUnknownDownToZero) {
  const struct {
    std::uint64_t own;
    std::uint64_t said;
    std::uint64_t unknown;
  } table[] = {{0, 0, 8192}, {5000, 5000, 3192}, {8192, 8192, 0}, {20000, 8192, 0}};
  for (const auto& row : table) {
    const MemoryBreakdown accounting =
        BreakDown({Private(0x10000, 8192), Private(0x20000, 4096, 4096)}, {},
                  {.process = 12288, .hosted_pages = 4096, .hosted_heap = 4096, .own = row.own});
    EXPECT_EQ(accounting.not_hosted.own, row.said) << row.own;
    EXPECT_EQ(accounting.not_hosted.unknown, row.unknown) << row.own;
    EXPECT_EQ(accounting.hosted.heap, 4096u);
    EXPECT_EQ(HostedBytes(accounting), 4096u) << "includes the pages of the heaps";
    EXPECT_EQ(accounting.unexplained, 0) << row.own;
    ExpectExact(accounting);
  }
}

TEST(MemoryBreakdown, ReportsUnexplainedBytesWithTheirSign) {
  for (const std::uint64_t process :
       {std::uint64_t{0}, std::uint64_t{4096}, std::uint64_t{8192}, std::uint64_t{1} << 40}) {
    const MemoryBreakdown accounting = BreakDown({Private(0x10000, 4096)}, {}, {.process = process});
    EXPECT_EQ(accounting.unexplained, static_cast<std::int64_t>(process) - 4096);
    ExpectExact(accounting);
  }
  ExpectExact(BreakDown({}, {}, {}));
  ExpectExact(BreakDown({Private(0x10000, 4096, 4096, 1)}, {}, {.process = 4096, .hosted_pages = 0}));
  ExpectExact(BreakDown({}, {}, {.process = 1, .hosted_pages = 2, .hosted_heap = 3, .own = 4}));
}

TEST(MemoryBreakdown, PrintsExactBytesInTableAndJson) {
  MemoryBreakdown accounting =
      BreakDown({Private(0x10000, 4096),
                 Private(0x20000, 65536, 65536, 1),
                 {0x70000, 8192, MemoryType::kImage, true, false, 0, 0}},
                {.stacks = {0x10000}, .thread_data = {}, .heaps = {}, .images = {{0x70000, "ntdll.dll"}}},
                {.process = 70000, .hosted_pages = 65536 + 4096});
  accounting.process_figure = "PagefileUsage";
  Table table;
  AddBreakdown(table, accounting);
  for (const char* part : {"PagefileUsage of the process", "70,000\n", "hosted", "69,632  charged by the manager",
                           "4,096  not private bytes", "for GC heap", "65,536\n", "4,096  of 1 threads", "ntdll.dll",
                           "not explained", "-7,824 of PagefileUsage"}) {
    EXPECT_THAT(table.text(), HasSubstr(part));
  }
  const Json json = BreakdownJson(accounting);
  EXPECT_EQ(json["process"]["figure"], "PagefileUsage");
  EXPECT_EQ(json["hosted"]["purposes"]["gc_heap"], 65536);
  EXPECT_EQ(json["not_hosted"]["images"][0]["name"], "ntdll.dll");
  EXPECT_EQ(json["unexplained_bytes"], -7824);
  EXPECT_TRUE(json["not_hosted"]["before"].is_null());
}

TEST(MemoryBreakdown, ShowsBytesPresentBeforeTheRuntime) {
  MemoryBreakdown accounting = BreakDown({Private(0x10000, 65536), Private(0x30000, 8192)},
                                         {.stacks = {}, .thread_data = {}, .heaps = {0x10000}, .images = {}}, {});
  accounting.before.emplace();
  accounting.before->heaps = 12345;
  accounting.before->unknown = 4096;
  Table table;
  AddBreakdown(table, accounting);
  EXPECT_THAT(table.text(), HasSubstr("65,536  12,345 before the runtime started\n"));
  EXPECT_THAT(table.text(), HasSubstr("8,192  4,096 before the runtime started\n"));
  const Json json = BreakdownJson(accounting);
  EXPECT_EQ(json["not_hosted"]["before"]["heap_bytes"], 12345);
  EXPECT_EQ(json["not_hosted"]["before"]["stack_bytes"], 0);
}

}  // namespace
}  // namespace clr_host_memory::tool
