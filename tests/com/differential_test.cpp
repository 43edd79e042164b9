// Compares the manager with Win32: runs long random sequences of calls. Each call is made through the manager in one
// arena and directly in a twin arena, at the same relative address. After each call both sides must agree in success,
// last error and relative result. VirtualQuery must show the same state of both arenas, and the ledger must be exact.
//
// Both arenas are free at first, and every reservation in them names its address. Calls with a null address are
// limited to shapes whose address does not matter; a separate test compares them. One difference is intended: the
// manager refuses to free memory that it did not allocate. Frees therefore stay inside the arena. Whether memory is
// allocated there is random. If it is not, the test compares only that both sides refuse.
//
// Seed: CLRHM_SEED in the environment, otherwise from the clock; printed. Steps: CLRHM_STEPS.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "com/backend.h"
#include "manager_client.h"

#ifndef MEM_RESET_UNDO
#define MEM_RESET_UNDO 0x01000000
#endif

namespace clr_host_memory::test {
namespace {

constexpr SIZE_T kArena = 16 * kGranule;

struct Result {
  bool done = false;
  DWORD error = kCallersError;
  SIZE_T value = 0;  // relative address, old protection or bytes written
  friend bool operator==(const Result&, const Result&) = default;
};

std::string TextOf(const Result& result) {
  std::ostringstream out;
  out << (result.done ? "done" : "refused") << ", error " << result.error << ", value 0x" << std::hex << result.value;
  return out.str();
}

// One side of the comparison: the calls on one arena.
class Side {
 public:
  explicit Side(char* arena) : arena_(arena) {}
  virtual ~Side() = default;
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  Result Alloc(SIZE_T offset, SIZE_T size, DWORD type, DWORD protect) {
    return Record([&](SIZE_T* value) {
      void* memory = DoAlloc(arena_ + offset, size, type, protect);
      if (memory != nullptr) *value = static_cast<SIZE_T>(static_cast<char*>(memory) - arena_);
      return memory != nullptr;
    });
  }
  Result Free(SIZE_T offset, SIZE_T size, DWORD type) {
    return Record([&](SIZE_T*) { return DoFree(arena_ + offset, size, type); });
  }
  Result Protect(SIZE_T offset, SIZE_T size, DWORD protect) {
    return Record([&](SIZE_T* value) {
      DWORD old = 0;
      const bool done = DoProtect(arena_ + offset, size, protect, &old);
      if (done) *value = old;
      return done;
    });
  }
  Result Query(SIZE_T offset, SIZE_T length) {
    return Record([&](SIZE_T* value) {
      MEMORY_BASIC_INFORMATION info{};
      return DoQuery(arena_ + offset, &info, length, value);
    });
  }
  // Returns state, protection and borders of every run of pages, relative to the arena.
  std::string Picture() {
    std::ostringstream out;
    out << std::hex;
    for (SIZE_T offset = 0; offset < kArena;) {
      MEMORY_BASIC_INFORMATION info{};
      SIZE_T written = 0;
      if (!DoQuery(arena_ + offset, &info, sizeof(info), &written)) return "VirtualQuery failed";
      const SIZE_T end = std::min<SIZE_T>(
          static_cast<SIZE_T>(static_cast<char*>(info.BaseAddress) + info.RegionSize - arena_), kArena);
      out << offset << '-' << end << " state " << info.State;
      if (info.State != MEM_FREE) {
        out << " of " << static_cast<SIZE_T>(static_cast<char*>(info.AllocationBase) - arena_) << " reserved as "
            << info.AllocationProtect << " type " << info.Type << " protect " << info.Protect;
      }
      out << '\n';
      offset = end;
    }
    return out.str();
  }
  [[nodiscard]] char* arena() const { return arena_; }

 protected:
  virtual void* DoAlloc(void* address, SIZE_T size, DWORD type, DWORD protect) = 0;
  virtual bool DoFree(void* address, SIZE_T size, DWORD type) = 0;
  virtual bool DoProtect(void* address, SIZE_T size, DWORD protect, DWORD* old) = 0;
  virtual bool DoQuery(void* address, void* buffer, SIZE_T length, SIZE_T* written) = 0;

 private:
  template <typename Call>
  static Result Record(Call call) {
    Result result;
    ::SetLastError(kCallersError);
    result.done = call(&result.value);
    result.error = ::GetLastError();
    // The manager promises to keep the last error on success. Win32 makes no such promise.
    if (result.done) result.error = kCallersError;
    return result;
  }
  char* const arena_;
};

class RawSide final : public Side {
 public:
  using Side::Side;

 private:
  void* DoAlloc(void* address, SIZE_T size, DWORD type, DWORD protect) override {
    // What Windows answers. Wine lets the range wrap round in a 32-bit process.
    const auto before_wrap = std::numeric_limits<SIZE_T>::max() - reinterpret_cast<SIZE_T>(address);
    if (sizeof(void*) == 4 && size != 0 && size - 1 > before_wrap) {
      ::SetLastError(ERROR_INVALID_PARAMETER);
      return nullptr;
    }
    return ::VirtualAlloc(address, size, type, protect);
  }
  bool DoFree(void* address, SIZE_T size, DWORD type) override { return ::VirtualFree(address, size, type) != FALSE; }
  bool DoProtect(void* address, SIZE_T size, DWORD protect, DWORD* old) override {
    return ::VirtualProtect(address, size, protect, old) != FALSE;
  }
  bool DoQuery(void* address, void* buffer, SIZE_T length, SIZE_T* written) override {
    *written = ::VirtualQuery(address, static_cast<MEMORY_BASIC_INFORMATION*>(buffer), length);
    return *written != 0;
  }
};

class ManagedSide final : public Side {
 public:
  ManagedSide(char* arena, IHostMemoryManager* manager) : Side(arena), manager_(manager) {}

 private:
  void* DoAlloc(void* address, SIZE_T size, DWORD type, DWORD protect) override {
    void* memory = Poison();
    const HRESULT hr = manager_->VirtualAlloc(address, size, type, protect, eTaskCritical, &memory);
    EXPECT_EQ(hr == S_OK, memory != nullptr);
    ExpectPromise(hr);
    return memory;
  }
  bool DoFree(void* address, SIZE_T size, DWORD type) override {
    return ExpectPromise(manager_->VirtualFree(address, size, type));
  }
  bool DoProtect(void* address, SIZE_T size, DWORD protect, DWORD* old) override {
    return ExpectPromise(manager_->VirtualProtect(address, size, protect, old));
  }
  bool DoQuery(void* address, void* buffer, SIZE_T length, SIZE_T* written) override {
    return manager_->VirtualQuery(address, buffer, length, written) == S_OK;
  }
  static bool ExpectPromise(HRESULT hr) {
    EXPECT_TRUE(hr != S_OK || ::GetLastError() == kCallersError) << "success, and the last error was touched";
    EXPECT_TRUE(hr != E_FAIL) << "E_FAIL for something Win32 can do or refuse; last error " << ::GetLastError();
    return hr == S_OK;
  }
  IHostMemoryManager* const manager_;
};

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  char text[32] = {};
  const DWORD length = ::GetEnvironmentVariableA(name, text, sizeof(text));
  return length == 0 || length >= sizeof(text) ? otherwise : std::strtoull(text, nullptr, 10);
}

class Differential : public ::testing::Test {
 protected:
  // Places the twin arenas where neither the OS nor the manager (for its tables) allocates by itself.
  Differential() {
    constexpr std::uintptr_t kPlace = sizeof(void*) == 8 ? static_cast<std::uintptr_t>(0x3000'0000'0000) : 0x9000'0000;
    auto* const place = reinterpret_cast<char*>(kPlace);
    managed_ = std::make_unique<ManagedSide>(place, manager_.get());
    raw_ = std::make_unique<RawSide>(place + 2 * kArena);
    EXPECT_EQ(raw_->Picture(), managed_->Picture()) << "something is there already";
  }

  template <typename Container>
  auto Pick(const Container& from) {
    return from[random_() % std::size(from)];
  }
  // Picks mostly page borders, sometimes one byte to either side, sometimes any byte.
  SIZE_T PickOffset() {
    const SIZE_T pages = kArena / kPage;
    const SIZE_T offset = (random_() % 3 == 0 ? (random_() % (kArena / kGranule)) * (kGranule / kPage)
                                              : static_cast<SIZE_T>(random_() % pages)) *
                          kPage;
    switch (random_() % 8) {
      case 0: return offset + 1;
      case 1: return offset == 0 ? kPage - 1 : offset - 1;
      case 2: return offset + random_() % kPage;
      default: return offset;
    }
  }
  SIZE_T PickSize(SIZE_T offset) {
    const SIZE_T room = kArena - offset;
    switch (random_() % 12) {
      case 0: return 0;
      case 1: return 1;
      case 2: return kPage + 1;
      case 3: return std::min(kGranule - 1, room);
      case 4: return std::numeric_limits<SIZE_T>::max() - random_() % kArena;  // wraps round
      case 5: return room;
      default: return std::min<SIZE_T>((1 + random_() % 40) * kPage, room);
    }
  }
  DWORD PickType() {
    static constexpr DWORD kUsual[] = {MEM_RESERVE, MEM_COMMIT, MEM_COMMIT, MEM_COMMIT, MEM_RESERVE | MEM_COMMIT};
    static constexpr DWORD kOdd[] = {0,
                                     MEM_RESET,
                                     MEM_RESET,
                                     MEM_RESET_UNDO,
                                     MEM_RESET | MEM_COMMIT,
                                     MEM_RESERVE | MEM_TOP_DOWN,
                                     MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN,
                                     MEM_COMMIT | MEM_TOP_DOWN,
                                     MEM_RESERVE | MEM_WRITE_WATCH,
                                     MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
                                     MEM_COMMIT | MEM_WRITE_WATCH,
                                     MEM_COMMIT | MEM_LARGE_PAGES,
                                     MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES,
                                     MEM_TOP_DOWN,
                                     MEM_RELEASE,
                                     MEM_COMMIT | 0x80,
                                     0xFFFFFFFF};
    return random_() % 3 != 0 ? Pick(kUsual) : Pick(kOdd);
  }
  DWORD PickProtection() {
    static constexpr DWORD kUsual[] = {PAGE_READWRITE, PAGE_READWRITE,         PAGE_NOACCESS,
                                       PAGE_READONLY,  PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_READ};
    static constexpr DWORD kOdd[] = {0,
                                     PAGE_WRITECOPY,
                                     PAGE_READWRITE | PAGE_GUARD,
                                     PAGE_READWRITE | PAGE_NOCACHE,
                                     PAGE_READONLY | PAGE_READWRITE,
                                     0x1000};
    return random_() % 8 != 0 ? Pick(kUsual) : Pick(kOdd);
  }
  DWORD PickFreeType() {
    static constexpr DWORD kTypes[] = {MEM_DECOMMIT,
                                       MEM_DECOMMIT,
                                       MEM_DECOMMIT,
                                       MEM_DECOMMIT,
                                       MEM_DECOMMIT,
                                       MEM_DECOMMIT,
                                       MEM_RELEASE,
                                       MEM_RELEASE,
                                       0,
                                       MEM_DECOMMIT | MEM_RELEASE};
    return Pick(kTypes);
  }

  // Returns whether the manager has memory at offset. If not, the manager refuses to free it, and its last error may
  // differ from Win32's.
  bool IsManaged(SIZE_T offset) {
    BackendRegion region{};
    return client_->FindRegion(managed_->arena() + offset, &region) == S_OK;
  }

  void Step(std::ostringstream& what) {
    Result managed;
    Result raw;
    bool compare_error = true;
    const SIZE_T offset = PickOffset();
    const SIZE_T size = PickSize(offset);
    what << std::hex;
    switch (random_() % 10) {
      case 0: {
        const SIZE_T length = random_() % 4 == 0 ? random_() % 60 : sizeof(MEMORY_BASIC_INFORMATION);
        what << "query " << offset << " length " << length;
        managed = managed_->Query(offset, length);
        raw = raw_->Query(offset, length);
        break;
      }
      case 1: {
        const DWORD protect = PickProtection();
        what << "protect " << offset << " size " << size << " as " << protect;
        managed = managed_->Protect(offset, size, protect);
        raw = raw_->Protect(offset, size, protect);
        break;
      }
      case 2:
      case 3: {
        const DWORD type = PickFreeType();
        // Releases mostly at granule borders, where a reservation may begin, and with the required size 0.
        const SIZE_T where = type == MEM_RELEASE && random_() % 3 != 0 ? offset / kGranule * kGranule : offset;
        const SIZE_T how_much = type == MEM_RELEASE && random_() % 4 != 0 ? 0 : size;
        compare_error = IsManaged(where);
        what << "free " << where << " size " << how_much << " type " << type;
        managed = managed_->Free(where, how_much, type);
        raw = raw_->Free(where, how_much, type);
        break;
      }
      default: {
        const DWORD type = PickType();
        const DWORD protect = PickProtection();
        what << "allocate " << offset << " size " << size << " type " << type << " protect " << protect;
        managed = managed_->Alloc(offset, size, type, protect);
        raw = raw_->Alloc(offset, size, type, protect);
        break;
      }
    }
    if (raw.done) ++done_;
    if (!compare_error) managed.error = raw.error = 0;
    EXPECT_EQ(raw, managed) << "Win32: " << TextOf(raw) << "\nmanager: " << TextOf(managed);
  }

  void ReleaseEverything() {
    for (Side* side : {static_cast<Side*>(managed_.get()), static_cast<Side*>(raw_.get())}) {
      for (SIZE_T offset = 0; offset < kArena; offset += kGranule) side->Free(offset, 0, MEM_RELEASE);
    }
  }

  MemoryManager manager_ = MakeManager();
  ComReference<IManagerBackend> client_ = Query<IManagerBackend>(manager_.get(), kIidManagerBackend);
  std::unique_ptr<Side> managed_;
  std::unique_ptr<Side> raw_;
  std::mt19937 random_;
  std::uint64_t done_ = 0;
};

TEST_F(Differential, RandomCallsMatchWin32) {
  const auto seed = static_cast<std::uint32_t>(FromEnvironment(
      "CLRHM_SEED", static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count())));
  const std::uint64_t steps = FromEnvironment("CLRHM_STEPS", 60'000);
  std::printf("seed %lu\n", static_cast<unsigned long>(seed));
  random_.seed(seed);
  std::vector<std::string> history;
  for (std::uint64_t step = 0; step < steps; ++step) {
    std::ostringstream what;
    Step(what);
    history.push_back(what.str());
    if (random_() % 400 == 0) ReleaseEverything();
    EXPECT_EQ(raw_->Picture(), managed_->Picture());
    if (step % 8 == 0) {
      EXPECT_TRUE(LedgerIsExact(manager_.get()));
    }
    if (HasFailure()) {
      std::string tail;
      for (std::size_t i = history.size() > 12 ? history.size() - 12 : 0; i < history.size(); ++i) {
        tail += "\n  " + history[i];
      }
      FAIL() << "seed " << seed << ", step " << step << "; the last calls, relative to the arena:" << tail;
    }
  }
  EXPECT_GT(done_, steps / 8) << "nearly all calls were refused, so little was compared";
  ReleaseEverything();
  EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().charged);
  EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().regions);
  EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().stale_regions);
}

// A case that the random calls found: Wine decommits a page for a size that wraps round.
TEST_F(Differential, LedgerStaysExactWhenADecommitSizeWraps) {
  for (Side* side : {static_cast<Side*>(managed_.get()), static_cast<Side*>(raw_.get())}) {
    ASSERT_TRUE(side->Alloc(0, 8 * kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE).done);
  }
  for (SIZE_T short_of_wrapping = 0; short_of_wrapping < 3 * kPage; short_of_wrapping += 0x3FF) {
    const SIZE_T size = std::numeric_limits<SIZE_T>::max() - short_of_wrapping;
    const SIZE_T offset = 4 * kPage - 1;
    EXPECT_EQ(raw_->Free(offset, size, MEM_DECOMMIT), managed_->Free(offset, size, MEM_DECOMMIT)) << short_of_wrapping;
    EXPECT_EQ(raw_->Picture(), managed_->Picture()) << short_of_wrapping;
    EXPECT_TRUE(LedgerIsExact(manager_.get())) << short_of_wrapping;
  }
  ReleaseEverything();
}

// Compares calls that leave the address to the OS. Everything but the address must match.
TEST_F(Differential, NullAddressCallsMatchWin32ExceptTheAddress) {
  static constexpr DWORD kTypes[] = {MEM_COMMIT,
                                     MEM_RESERVE,
                                     MEM_RESERVE | MEM_COMMIT,
                                     MEM_COMMIT | MEM_TOP_DOWN,
                                     MEM_RESERVE | MEM_WRITE_WATCH,
                                     MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
                                     MEM_COMMIT | MEM_LARGE_PAGES | MEM_RESERVE,
                                     MEM_RESET,
                                     MEM_RESET | MEM_COMMIT,
                                     MEM_RESET | MEM_RESERVE,
                                     MEM_RESET_UNDO,
                                     MEM_TOP_DOWN,
                                     0,
                                     MEM_DECOMMIT,
                                     0xFFFFFFFF};
  static constexpr SIZE_T kSizes[] = {0, 1, kPage - 1, kPage, kPage + 1, kGranule, kGranule + 1, 5 * kMiB};
  static constexpr DWORD kProtections[] = {PAGE_READWRITE, PAGE_NOACCESS, PAGE_EXECUTE_READWRITE, PAGE_WRITECOPY, 0};
  for (const DWORD type : kTypes) {
    for (const SIZE_T size : kSizes) {
      for (const DWORD protect : kProtections) {
        SCOPED_TRACE(::testing::Message() << std::hex << "type " << type << " size " << size << " protect " << protect);
        ::SetLastError(kCallersError);
        void* const raw = ::VirtualAlloc(nullptr, size, type, protect);
        const DWORD raw_error = ::GetLastError();
        ::SetLastError(kCallersError);
        void* managed = Poison();
        const HRESULT hr = manager_.get()->VirtualAlloc(nullptr, size, type, protect, eTaskCritical, &managed);
        const DWORD managed_error = ::GetLastError();
        ASSERT_EQ(raw != nullptr, hr == S_OK);
        ASSERT_EQ(raw != nullptr, managed != nullptr);
        EXPECT_EQ(raw == nullptr ? raw_error : kCallersError, managed_error);
        EXPECT_TRUE(LedgerIsExact(manager_.get()));
        if (raw == nullptr) continue;
        MEMORY_BASIC_INFORMATION of_raw{};
        MEMORY_BASIC_INFORMATION of_managed{};
        ::VirtualQuery(raw, &of_raw, sizeof(of_raw));
        ::VirtualQuery(managed, &of_managed, sizeof(of_managed));
        EXPECT_EQ(of_raw.RegionSize, of_managed.RegionSize);
        EXPECT_EQ(of_raw.State, of_managed.State);
        EXPECT_EQ(of_raw.Protect, of_managed.Protect);
        EXPECT_EQ(of_raw.AllocationProtect, of_managed.AllocationProtect);
        EXPECT_TRUE(::VirtualFree(raw, 0, MEM_RELEASE));
        EXPECT_HR(S_OK, manager_.get()->VirtualFree(managed, 0, MEM_RELEASE));
        EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().charged);
      }
    }
  }
}

}  // namespace
}  // namespace clr_host_memory::test
