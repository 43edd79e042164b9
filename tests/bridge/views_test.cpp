// Mapped views: announced to the manager, and withdrawn before the OS can reuse their addresses.
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

constexpr SIZE_T kSectionSize = 5 * 65536;
constexpr DWORD kLastError = 4711;

class Views : public BridgedFakeClr {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    section_ =
        CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE | SEC_RESERVE, 0, kSectionSize, nullptr);
    ASSERT_NE(section_, nullptr);
  }
  void TearDown() override {
    CloseHandle(section_);
    BridgedFakeClr::TearDown();
  }
  void* Map(SIZE_T size) { return clr_.map_view(section_, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size); }

  HANDLE section_ = nullptr;
};

TEST_F(Views, AreAnnouncedWithTheirWholePages) {
  SetLastError(kLastError);
  void* view = Map(4097);
  EXPECT_EQ(GetLastError(), kLastError);
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquired, view, 8192}));
  EXPECT_TRUE(clr_.unmap_view(view));
}

TEST_F(Views, OfWholeSectionsAreAnnouncedWithFullSize) {
  void* view = Map(0);
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquired, view, kSectionSize}));
  EXPECT_TRUE(clr_.unmap_view(view));

  // Pages committed in the middle split what VirtualQuery shows.
  char* raw = static_cast<char*>(MapViewOfFile(section_, FILE_MAP_WRITE, 0, 0, 0));
  ASSERT_NE(VirtualAlloc(raw + 65536, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  view = Map(0);
  EXPECT_EQ(manager_.Last().size, kSectionSize);
  EXPECT_TRUE(clr_.unmap_view(view));
  UnmapViewOfFile(raw);
}

// A CLR commits a whole view to clear it before it unmaps it, and fails fast if it cannot.
TEST_F(Views, CommitOfAWholeViewIsAskedForAgainAfterARefusal) {
  char* view = static_cast<char*>(Map(0));
  ASSERT_NE(view, nullptr);
  manager_.alloc_answer = E_OUTOFMEMORY;
  const auto asked = [&](SIZE_T size) {
    manager_.Forget();
    EXPECT_EQ(clr_.virtual_alloc(view, size, MEM_COMMIT, PAGE_READWRITE), nullptr);
    return manager_.RequestsOf(Asked::kAlloc).size();
  };
  EXPECT_EQ(asked(kSectionSize), 2U);
  EXPECT_EQ(manager_.opened_last_part, 1);
  EXPECT_EQ(asked(kSectionSize - 4096), 1U);
  EXPECT_EQ(manager_.opened_last_part, 1) << "it is kept for whole views";
  manager_.alloc_answer = HOST_E_TIMEOUT;
  EXPECT_EQ(asked(kSectionSize), 1U) << "not for lack of memory";

  int tries = 0;
  manager_.inside_alloc = [&] { manager_.alloc_answer = ++tries == 1 ? E_OUTOFMEMORY : S_OK; };
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_alloc(view, kSectionSize, MEM_COMMIT, PAGE_READWRITE), view);
  EXPECT_EQ(GetLastError(), kLastError) << "of no failure";
  manager_.inside_alloc = [] {};
  EXPECT_TRUE(clr_.unmap_view(view));
}

TEST_F(Views, AtRequestedAddressAreAnnounced) {
  void* base = VirtualAlloc(nullptr, kSectionSize, MEM_RESERVE, PAGE_NOACCESS);
  VirtualFree(base, 0, MEM_RELEASE);
  void* view = clr_.map_view_ex(section_, FILE_MAP_READ, 0, 0, 0, base);
  ASSERT_EQ(view, base);
  EXPECT_EQ(manager_.Last(), (Request{Asked::kAcquired, base, kSectionSize}));
  EXPECT_TRUE(clr_.unmap_view(view));
}

TEST_F(Views, AreReleasedOnceWithTheirBase) {
  char* view = static_cast<char*>(Map(0));
  SetLastError(kLastError);
  EXPECT_TRUE(clr_.unmap_view(view));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(manager_.RequestsOf(Asked::kReleased), (std::vector<Request>{{Asked::kReleased, view}}));
  MEMORY_BASIC_INFORMATION information{};
  VirtualQuery(view, &information, sizeof(information));
  EXPECT_EQ(information.State, DWORD{MEM_FREE});
}

TEST_F(Views, AreUnmappedWhenManagerIsUnavailable) {
  void* view = Map(0);
  manager_.unmap_answer = HOST_E_CLRNOTAVAILABLE;
  SetLastError(kLastError);
  EXPECT_TRUE(clr_.unmap_view(view));
  MEMORY_BASIC_INFORMATION information{};
  VirtualQuery(view, &information, sizeof(information));
  EXPECT_EQ(information.State, DWORD{MEM_FREE});
}

BOOL WINAPI RefuseUnmap(LPCVOID) {
  SetLastError(ERROR_ACCESS_DENIED);
  return FALSE;
}

LPVOID WINAPI RefuseMap(HANDLE, DWORD, DWORD, DWORD, SIZE_T) {
  SetLastError(ERROR_NOT_ENOUGH_MEMORY);
  return nullptr;
}
int map_calls;
DWORD map_error;
LPVOID WINAPI MapAtTheSecondTry(HANDLE section, DWORD access, DWORD high, DWORD low, SIZE_T size) {
  if (++map_calls >= 2) return MapViewOfFile(section, access, high, low, size);
  SetLastError(map_error);
  return nullptr;
}

// The bridge calls the function that the import pointed at before it was bridged.
class ViewsOverAnEarlierHook : public testing::Test {
 protected:
  void Bridge(const char* name, void* earlier_hook) {
    slot_ = clr_.Slot(name);
    before_ = std::exchange(*slot_, earlier_hook);
    attachment_ = std::make_unique<Attachment>(clr_.get(), &manager_);
    ASSERT_EQ(attachment_->hr, S_OK) << attachment_->reason.data();
    section_ = CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0, kSectionSize, nullptr);
    map_calls = 0;
    map_error = ERROR_NOT_ENOUGH_MEMORY;
  }
  void TearDown() override {
    attachment_.reset();
    *slot_ = before_;
    CloseHandle(section_);
  }
  void* Map(SIZE_T size) { return clr_.map_view(section_, FILE_MAP_READ, 0, 0, size); }

  FakeCoreClr clr_;
  RecordingManager manager_;
  std::unique_ptr<Attachment> attachment_;
  void** slot_ = nullptr;
  void* before_ = nullptr;
  HANDLE section_ = nullptr;
};

TEST_F(ViewsOverAnEarlierHook, UnmapFailureComesFromTheOriginal) {
  Bridge("UnmapViewOfFile", reinterpret_cast<void*>(&RefuseUnmap));
  void* view = Map(0);
  manager_.Forget();
  EXPECT_FALSE(clr_.unmap_view(view));
  EXPECT_EQ(GetLastError(), DWORD{ERROR_ACCESS_DENIED});
  EXPECT_EQ(manager_.requests(), (std::vector<Request>{{Asked::kReleased, view}}));
  UnmapViewOfFile(view);
}

TEST_F(ViewsOverAnEarlierHook, AreRetriedOnceWhenManagerMadeRoom) {
  Bridge("MapViewOfFile", reinterpret_cast<void*>(&MapAtTheSecondTry));
  manager_.needs_answer = S_OK;
  SetLastError(kLastError);
  void* view = Map(65536);
  EXPECT_EQ(GetLastError(), kLastError) << "a call that succeeds leaves it alone";
  ASSERT_NE(view, nullptr);
  EXPECT_EQ(map_calls, 2);
  EXPECT_EQ(manager_.requests(),
            (std::vector<Request>{{Asked::kNeeds, nullptr, 65536}, {Asked::kAcquired, view, 65536}}));
  EXPECT_TRUE(clr_.unmap_view(view));
}

TEST_F(ViewsOverAnEarlierHook, FailWhenManagerHasNoRoom) {
  Bridge("MapViewOfFile", reinterpret_cast<void*>(&MapAtTheSecondTry));
  EXPECT_EQ(Map(65536), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_NOT_ENOUGH_MEMORY}) << "not what the manager left";
  EXPECT_EQ(map_calls, 1);
}

TEST_F(ViewsOverAnEarlierHook, AreRetriedOnlyOnce) {
  Bridge("MapViewOfFile", reinterpret_cast<void*>(&RefuseMap));
  manager_.needs_answer = S_OK;
  EXPECT_EQ(Map(65536), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_NOT_ENOUGH_MEMORY});
  EXPECT_EQ(manager_.requests().size(), 1U);
}

TEST_F(ViewsOverAnEarlierHook, CallerMistakesBypassTheManager) {
  Bridge("MapViewOfFile", reinterpret_cast<void*>(&MapAtTheSecondTry));
  manager_.needs_answer = S_OK;
  map_error = ERROR_ACCESS_DENIED;
  EXPECT_EQ(Map(65536), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_ACCESS_DENIED});
  EXPECT_TRUE(manager_.requests().empty());
}

TEST_F(Views, AtOccupiedAddressFailWithoutTheManager) {
  manager_.needs_answer = S_OK;
  char* taken = static_cast<char*>(VirtualAlloc(nullptr, kSectionSize, MEM_RESERVE, PAGE_NOACCESS));
  EXPECT_EQ(clr_.map_view_ex(section_, FILE_MAP_READ, 0, 0, 0, taken), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_ADDRESS});
  EXPECT_TRUE(manager_.requests().empty());
  VirtualFree(taken, 0, MEM_RELEASE);
}

}  // namespace
}  // namespace clrhm_test
