// Sections backed by the paging file, made and mapped by a fake CLR. The tests check the requests that the manager
// receives and, with the real manager, the bytes charged.
#include <gtest/gtest.h>

#include <clr_host_memory/core_clr_bridge.h>

#include <string>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

constexpr SIZE_T kGranule = 65536;
constexpr SIZE_T kPage = 4096;
constexpr DWORD kLastError = 4711;

// Returns a name unique to this process, since names are shared in the whole session.
std::wstring UniqueName() { return L"clrhm_section_" + std::to_wstring(GetCurrentProcessId()); }

class SectionsOfAFakeClr : public BridgedFakeClr {
 protected:
  HANDLE Create(DWORD protect, SIZE_T size, const wchar_t* name = nullptr) {
    return clr_.create_mapping_w(INVALID_HANDLE_VALUE, nullptr, protect, 0, static_cast<DWORD>(size), name);
  }
};

TEST_F(SectionsOfAFakeClr, AreReportedWithTheirViewsAndTheirEnd) {
  SetLastError(kLastError);
  HANDLE section = Create(PAGE_READWRITE | SEC_RESERVE, 4 * kGranule);
  const DWORD error = GetLastError();
  ASSERT_NE(section, nullptr);
  EXPECT_EQ(error, DWORD{0}) << "as Win32 leaves it";
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAddSection, nullptr, 4 * kGranule, 0, 0, 0, eProcessCritical}));

  void* view = clr_.map_view(section, FILE_MAP_WRITE, 0, kGranule, 2 * kGranule);
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquiredOfSection, view, 2 * kGranule, kGranule, 0, 1}));
  void* twin = clr_.map_view_ex(section, FILE_MAP_READ, 0, 0, 0, nullptr);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquiredOfSection, twin, 4 * kGranule, 0, 0, 1}));

  SetLastError(kLastError);
  EXPECT_TRUE(clr_.close_handle(section));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 1}));
  EXPECT_TRUE(clr_.unmap_view(view));
  EXPECT_TRUE(clr_.unmap_view(twin));
}

TEST_F(SectionsOfAFakeClr, CommittedAsAWholeAreReportedAsCommitted) {
  HANDLE section = clr_.create_mapping_a(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, kGranule, nullptr);
  ASSERT_NE(section, nullptr);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAddSection, nullptr, kGranule, 1, 0, 0, eProcessCritical}));
  EXPECT_TRUE(clr_.close_handle(section));
}

TEST_F(SectionsOfAFakeClr, BackedByFilesBypassTheManager) {
  HANDLE file = CreateFileW(Beside(L"fake_coreclr.dll").c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING,
                            0, nullptr);
  ASSERT_NE(file, INVALID_HANDLE_VALUE);
  HANDLE section = clr_.create_mapping_w(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  ASSERT_NE(section, nullptr);
  EXPECT_TRUE(manager_.requests().empty());
  void* view = clr_.map_view(section, FILE_MAP_READ, 0, 0, kPage);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquired, view, kPage}));
  EXPECT_TRUE(clr_.unmap_view(view));
  EXPECT_TRUE(clr_.close_handle(section));
  CloseHandle(file);
}

TEST_F(SectionsOfAFakeClr, RefusedByTheManagerAreNotMade) {
  manager_.section_answer = E_OUTOFMEMORY;
  EXPECT_EQ(Create(PAGE_READWRITE, kGranule), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
  ClrHostMemoryPurposes purposes{};
  purposes.size = sizeof(purposes);
  ASSERT_EQ(bridge()->GetPurposes(&purposes), S_OK);
  EXPECT_EQ(purposes.requests[kClrHostMemoryMappedView], 1U);
  EXPECT_EQ(purposes.refusals[kClrHostMemoryMappedView], 1U);
  HANDLE reserved = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  EXPECT_NE(reserved, nullptr) << "commits no memory, and works without being charged";
  CloseHandle(reserved);
  manager_.section_answer = HOST_E_CLRNOTAVAILABLE;
  EXPECT_EQ(Create(PAGE_READWRITE, kGranule), nullptr) << "a manager that is latched goes on refusing";
  manager_.state = kClrHostMemoryDraining;
  HANDLE later = Create(PAGE_READWRITE, kGranule);
  EXPECT_NE(later, nullptr) << "a manager that is shut down has nothing to say";
  CloseHandle(later);
}

TEST_F(SectionsOfAFakeClr, CommittedBeyondTheTableAreRefused) {
  std::vector<HANDLE> sections;
  HANDLE section = nullptr;
  while ((section = Create(PAGE_READWRITE, kPage)) != nullptr) {
    sections.push_back(section);
    ASSERT_LE(sections.size(), 4096U);
  }
  EXPECT_EQ(GetLastError(), DWORD{ERROR_NOT_ENOUGH_MEMORY});
  EXPECT_EQ(sections.size(), 4096U);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 4097}));
  HANDLE reserved = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  EXPECT_NE(reserved, nullptr) << "its views are charged each";
  EXPECT_TRUE(clr_.close_handle(reserved));
  EXPECT_TRUE(clr_.close_handle(sections.back()));
  sections.back() = Create(PAGE_READWRITE, kPage);
  EXPECT_NE(sections.back(), nullptr);
  for (HANDLE each : sections) EXPECT_TRUE(clr_.close_handle(each));
}

TEST_F(SectionsOfAFakeClr, RefusedByTheOsAreDropped) {
  EXPECT_EQ(Create(PAGE_READWRITE | SEC_RESERVE | SEC_COMMIT, kGranule), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_PARAMETER});
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 1}));
}

TEST_F(SectionsOfAFakeClr, ReopenedByNameAreRecognised) {
  HANDLE section = Create(PAGE_READWRITE | SEC_RESERVE, kGranule, UniqueName().c_str());
  HANDLE again = Create(PAGE_READWRITE | SEC_RESERVE, kGranule, UniqueName().c_str());
  EXPECT_EQ(GetLastError(), DWORD{ERROR_ALREADY_EXISTS});
  EXPECT_EQ(manager_.Last(), (Request{Asked::kKeepSection, nullptr, 0, 0, 0, 1}));
  EXPECT_TRUE(clr_.close_handle(section));
  void* view = clr_.map_view(again, FILE_MAP_WRITE, 0, 0, 0);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquiredOfSection, view, kGranule, 0, 0, 1}));
  EXPECT_TRUE(clr_.unmap_view(view));
  manager_.Forget();
  EXPECT_TRUE(clr_.close_handle(again));
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 1}));
}

TEST_F(SectionsOfAFakeClr, MappedThroughADuplicateAreRecognised) {
  HANDLE section = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  HANDLE twin = nullptr;
  ASSERT_TRUE(
      DuplicateHandle(GetCurrentProcess(), section, GetCurrentProcess(), &twin, 0, FALSE, DUPLICATE_SAME_ACCESS));
  void* view = clr_.map_view(twin, FILE_MAP_WRITE, 0, 0, 0);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquiredOfSection, view, kGranule, 0, 0, 1}));
  EXPECT_TRUE(clr_.unmap_view(view));
  manager_.Forget();
  EXPECT_TRUE(clr_.close_handle(twin));
  EXPECT_TRUE(manager_.requests().empty());
  EXPECT_TRUE(clr_.close_handle(section));
}

TEST_F(SectionsOfAFakeClr, HandleClosedUnseenIsDroppedWhenReused) {
  HANDLE section = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  CloseHandle(section);  // uses this program's import, which is not bridged
  HANDLE next = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  if (next != section) GTEST_SKIP() << "the OS gave out another value; it runs where values are used again at once";
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 1}));
  EXPECT_TRUE(clr_.close_handle(next));
  EXPECT_EQ(manager_.Last(), (Request{Asked::kDropSection, nullptr, 0, 0, 0, 2}));
}

TEST_F(SectionsOfAFakeClr, HandleThatCannotBeClosedStaysKnown) {
  HANDLE section = Create(PAGE_READWRITE | SEC_RESERVE, kGranule);
  ASSERT_TRUE(SetHandleInformation(section, HANDLE_FLAG_PROTECT_FROM_CLOSE, HANDLE_FLAG_PROTECT_FROM_CLOSE));
  manager_.Forget();
  EXPECT_FALSE(clr_.close_handle(section));
  EXPECT_TRUE(manager_.RequestsOf(Asked::kDropSection).empty());
  ASSERT_TRUE(SetHandleInformation(section, HANDLE_FLAG_PROTECT_FROM_CLOSE, 0));
  EXPECT_TRUE(clr_.close_handle(section));
  EXPECT_EQ(manager_.RequestsOf(Asked::kDropSection).size(), 1U);
}

// Double mapping as W^X uses it, with the library's manager and the real OS.
class DoubleMapping : public testing::Test {
 protected:
  void SetUp() override {
    auto manager = clr_host_memory::CreateMemoryManager({.limit = 64 * 1024 * 1024});
    ASSERT_TRUE(manager) << manager.error().reason();
    manager_ = *std::move(manager);
    auto bridge = clr_host_memory::AttachToCoreClr(clr_.get(), manager_);
    ASSERT_TRUE(bridge) << bridge.error().reason();
    bridge_ = *std::move(bridge);
  }
  std::uint64_t Charged() const { return manager_.Statistics().charged; }
  void ExpectExact() const { EXPECT_EQ(manager_.Audit().mismatch, 0U); }

  FakeCoreClr clr_;
  clr_host_memory::MemoryManager manager_;
  clr_host_memory::CoreClrBridge bridge_;
};

TEST_F(DoubleMapping, ChargesEachPageOnceUntilTheSectionEnds) {
  const DWORD high = sizeof(void*) == 8 ? 512 : 0;  // 2 TiB
  HANDLE section = clr_.create_mapping_w(INVALID_HANDLE_VALUE, nullptr, PAGE_EXECUTE_READWRITE | SEC_RESERVE, high,
                                         high != 0 ? 0 : 0x10000000, nullptr);
  ASSERT_NE(section, nullptr);
  auto* code = static_cast<char*>(clr_.map_view_ex(section, FILE_MAP_EXECUTE | FILE_MAP_READ | FILE_MAP_WRITE, 0,
                                                   16 * kGranule, 16 * kGranule, nullptr));
  ASSERT_NE(code, nullptr);
  EXPECT_EQ(Charged(), 0U);
  ASSERT_NE(clr_.virtual_alloc(code, 3 * kGranule, MEM_COMMIT, PAGE_EXECUTE_READ), nullptr);
  EXPECT_EQ(Charged(), 3 * kGranule);

  auto* data =
      static_cast<char*>(clr_.map_view(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 17 * kGranule, 4 * kGranule));
  ASSERT_NE(data, nullptr);
  data[0] = 42;
  EXPECT_EQ(code[kGranule], 42);
  ASSERT_NE(clr_.virtual_alloc(data, 3 * kGranule, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(Charged(), 4 * kGranule) << "two of the three were committed through the other view";
  ExpectExact();

  EXPECT_TRUE(clr_.unmap_view(data));
  EXPECT_TRUE(clr_.unmap_view(code));
  EXPECT_EQ(Charged(), 4 * kGranule);
  ExpectExact();
  EXPECT_TRUE(clr_.close_handle(section));
  EXPECT_EQ(Charged(), 0U);
  EXPECT_EQ(manager_.Statistics().mapped, 0U);
  ExpectExact();
}

TEST_F(DoubleMapping, CommittedSectionIsChargedAndLimited) {
  ASSERT_EQ(manager_.control()->EndStart(nullptr), S_OK);
  HANDLE section = clr_.create_mapping_w(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, 48 * 1024 * 1024, nullptr);
  ASSERT_NE(section, nullptr);
  EXPECT_EQ(Charged(), 48U * 1024 * 1024);
  EXPECT_EQ(clr_.create_mapping_w(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, 48 * 1024 * 1024, nullptr),
            nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
  void* view = clr_.map_view(section, FILE_MAP_WRITE, 0, 0, 0);
  ASSERT_NE(view, nullptr);
  EXPECT_TRUE(clr_.close_handle(section));
  EXPECT_EQ(Charged(), 48U * 1024 * 1024) << "mapped still";
  ExpectExact();
  EXPECT_TRUE(clr_.unmap_view(view));
  EXPECT_EQ(Charged(), 0U);
}

TEST_F(DoubleMapping, ViewUnmappedTwiceIsReleasedOnce) {
  HANDLE section =
      clr_.create_mapping_w(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE | SEC_RESERVE, 0, kGranule, nullptr);
  void* view = clr_.map_view(section, FILE_MAP_WRITE, 0, 0, 0);
  ASSERT_NE(clr_.virtual_alloc(view, kPage, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_TRUE(clr_.unmap_view(view));
  SetLastError(kLastError);
  EXPECT_FALSE(clr_.unmap_view(view));
  EXPECT_NE(GetLastError(), kLastError);
  EXPECT_EQ(Charged(), kPage);
  EXPECT_TRUE(clr_.close_handle(section));
  EXPECT_EQ(Charged(), 0U);
  ExpectExact();
}

}  // namespace
}  // namespace clrhm_test
