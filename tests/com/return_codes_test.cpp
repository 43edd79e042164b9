// Tests S_OK, HOST_E_TIMEOUT, HOST_E_ABANDONED, HOST_E_NOT_OWNER, HOST_E_INVALIDOPERATION, E_POINTER and
// E_INVALIDARG. Each code is tested in every method that documents it, with its cause. docs/return-codes.md has the
// table.
#include <set>

#include "com/result_codes.h"
#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

// ---- S_OK

TEST(Ok, EveryMethodSucceedsAndKeepsTheLastError) {
  HostOverFake host;
  for (const auto& [method, name] : kMethods) {
    if (method == kClrHostMemoryNeedsVirtualAddressSpace)
      continue;  // always refused here: see the OutOfMemoryByHost suite
    SCOPED_TRACE(name);
    const Answer answer = host.Call(method);
    EXPECT_HR(S_OK, answer.hr);
    EXPECT_EQ(kCallersError, answer.last_error);
  }
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(Ok, IsCountedPerMethod) {
  HostOverFake host;
  for (const auto& [method, name] : kMethods) {
    SCOPED_TRACE(name);
    const auto before = StatisticsOf(host.manager());
    const Answer answer = host.Call(method);
    const auto after = StatisticsOf(host.manager());
    const auto code = CodeIndexOf(answer.hr);
    EXPECT_EQ(before.calls[method][code] + 1, after.calls[method][code]);
  }
}

TEST(Ok, KeepsTheLastErrorWhenTheOsChangesIt) {
  HostOverFake host;
  for (const auto& [method, name] : kMethods) {
    const auto seam = SeamOf(method);
    if (!seam) continue;
    SCOPED_TRACE(name);
    host.os.OnNext(*seam, Moment::kAfter, [](const OsCallInfo&) { ::SetLastError(ERROR_MOD_NOT_FOUND); });
    const Answer answer = host.Call(method);
    EXPECT_HR(S_OK, answer.hr);
    EXPECT_EQ(kCallersError, answer.last_error);
  }
}

// ---- HOST_E_TIMEOUT, HOST_E_ABANDONED, HOST_E_NOT_OWNER from the OS layer

struct LockCode {
  const char* name;
  win32::Error error;
  HRESULT hr;
};
constexpr LockCode kLockCodes[] = {
    {"WAIT_TIMEOUT", WAIT_TIMEOUT, HOST_E_TIMEOUT},
    {"ERROR_TIMEOUT", ERROR_TIMEOUT, HOST_E_TIMEOUT},
    {"ERROR_SEM_TIMEOUT", ERROR_SEM_TIMEOUT, HOST_E_TIMEOUT},
    {"ERROR_ABANDONED_WAIT_0", ERROR_ABANDONED_WAIT_0, HOST_E_ABANDONED},
    {"ERROR_OPERATION_ABORTED", ERROR_OPERATION_ABORTED, HOST_E_ABANDONED},
    {"ERROR_CANCELLED", ERROR_CANCELLED, HOST_E_ABANDONED},
    {"ERROR_NOT_OWNER", ERROR_NOT_OWNER, HOST_E_NOT_OWNER},
};

TEST(TimeoutAbandonedNotOwner, AreReturnedByEveryMethodThatCallsTheOs) {
  HostOverFake host;
  for (const LockCode& code : kLockCodes) {
    for (const auto& [method, name] : kMethods) {
      const auto seam = SeamOf(method);
      if (!seam) continue;
      SCOPED_TRACE(std::string(name) + " " + code.name);
      host.os.Fail(*seam, code.error);
      const Answer answer = host.Call(method);
      EXPECT_HR(code.hr, answer.hr);
      EXPECT_EQ(code.error, answer.last_error);
      EXPECT_TRUE(answer.outputs_cleared);
      // These codes do not latch: the next call succeeds.
      EXPECT_HR(S_OK, host.Call(method).hr);
    }
  }
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(TimeoutAbandonedNotOwner, AreMappedForEveryOperation) {
  // The notification methods make no OS call, so only their mapping is tested here.
  for (const LockCode& code : kLockCodes) {
    for (const auto& [operation, name] : kOperations) {
      EXPECT_HR(code.hr, ToHresult(Outcome::OsRefused(code.error), operation)) << name << " " << code.name;
    }
  }
}

// ---- HOST_E_INVALIDOPERATION: the memory to be freed was not allocated by the host

class InvalidOperation : public ::testing::Test {
 protected:
  void ExpectRefused(void* address, SIZE_T size, DWORD type) {
    const Answer answer = Ask([&] { return host_.manager()->VirtualFree(address, size, type); });
    EXPECT_HR(HOST_E_INVALIDOPERATION, answer.hr);
    EXPECT_EQ(DWORD{ERROR_INVALID_ADDRESS}, answer.last_error);
  }
  HostOverFake host_;
};

TEST_F(InvalidOperation, VirtualFreeRefusesForeignMemory) {
  const auto theirs = host_.os.RawAllocate({0, kGranule, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE});
  auto* memory = reinterpret_cast<void*>(static_cast<std::uintptr_t>(theirs.address));
  for (const DWORD type : {DWORD{MEM_RELEASE}, DWORD{MEM_DECOMMIT}}) {
    ExpectRefused(memory, type == MEM_RELEASE ? 0 : kGranule, type);
    ExpectRefused(At(memory, kPage), type == MEM_RELEASE ? 0 : kPage, type);
  }
  EXPECT_TRUE(host_.os.Describe(theirs.address).committed);
}

TEST_F(InvalidOperation, VirtualFreeRefusesNullAndReleasedAddresses) {
  ExpectRefused(nullptr, 0, MEM_RELEASE);
  void* memory = Allocate(host_.manager(), nullptr, kGranule, MEM_RESERVE, PAGE_NOACCESS);
  EXPECT_HR(S_OK, host_.manager()->VirtualFree(memory, 0, MEM_RELEASE));
  ExpectRefused(memory, 0, MEM_RELEASE);
  ExpectRefused(memory, kPage, MEM_DECOMMIT);
}

TEST_F(InvalidOperation, VirtualFreeRefusesAView) {
  ExpectRefused(host_.view(), 0, MEM_RELEASE);
  EXPECT_NE(Address{0}, host_.os.Describe(reinterpret_cast<std::uintptr_t>(host_.view())).allocation_base);
}

TEST_F(InvalidOperation, MallocFreeRefusesForeignAndInnerPointers) {
  ComReference<IHostMalloc> other;
  ASSERT_HR(S_OK, host_.manager()->CreateMalloc(MALLOC_THREADSAFE, other.Receive()));
  int local = 0;
  void* const foreign[] = {host_.block(), &local, host_.page(), At(host_.block(), 1)};
  for (void* pointer : foreign) {
    IHostMalloc* heap = pointer == At(host_.block(), 1) ? host_.malloc() : other.get();
    const Answer answer = Ask([&] { return heap->Free(pointer); });
    EXPECT_HR(HOST_E_INVALIDOPERATION, answer.hr);
    EXPECT_EQ(DWORD{ERROR_INVALID_ADDRESS}, answer.last_error);
  }
  EXPECT_HR(S_OK, host_.malloc()->Free(host_.block()));
}

TEST_F(InvalidOperation, ChargesStayExact) {
  const auto before = StatisticsOf(host_.manager()).charged;
  ExpectRefused(reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x7000'0000)), 0, MEM_RELEASE);
  EXPECT_EQ(before, StatisticsOf(host_.manager()).charged);
  EXPECT_TRUE(LedgerIsExact(host_.manager()));
}

// ---- E_POINTER

TEST(Pointer, NullOutputIsRefusedWithoutAnOsCall) {
  HostOverFake host;
  MEMORY_BASIC_INFORMATION info{};
  SIZE_T size = 0;
  DWORD number = 0;
  IHostMemoryManager* manager = host.manager();
  const std::uint64_t calls = host.os.AllCalls();
  const Answer answers[] = {
      Ask([&] { return manager->CreateMalloc(MALLOC_THREADSAFE, nullptr); }),
      Ask([&] { return manager->VirtualAlloc(nullptr, kPage, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, nullptr); }),
      Ask([&] { return manager->VirtualQuery(host.page(), &info, sizeof(info), nullptr); }),
      Ask([&] { return manager->GetMemoryLoad(nullptr, &size); }),
      Ask([&] { return manager->GetMemoryLoad(&number, nullptr); }),
      Ask([&] { return host.malloc()->Alloc(8, eTaskCritical, nullptr); }),
      Ask([&] { return host.malloc()->DebugAlloc(8, eTaskCritical, nullptr, 0, nullptr); }),
  };
  for (const Answer& answer : answers) {
    EXPECT_HR(E_POINTER, answer.hr);
    EXPECT_EQ(DWORD{ERROR_INVALID_PARAMETER}, answer.last_error);
  }
  // For these two calls Win32 determines the last error.
  EXPECT_HR(E_POINTER, manager->VirtualQuery(host.page(), nullptr, sizeof(info), &size));
  EXPECT_HR(E_POINTER, manager->VirtualProtect(host.page(), kPage, PAGE_READONLY, nullptr));
  EXPECT_EQ(calls, host.os.AllCalls());
}

TEST(Pointer, NullOutputSetsTheSameLastErrorAsWin32) {
  const MemoryManager manager = MakeManager();
  void* const page = Allocate(manager.get(), nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  void* const nowhere = reinterpret_cast<void*>(~std::uintptr_t{0});
  for (void* const address : {page, static_cast<void*>(nullptr), nowhere}) {
    for (const SIZE_T size : {SIZE_T{0}, SIZE_T{1}, SIZE_T{kPage}, SIZE_T{SIZE_MAX}}) {
      for (const DWORD protect : {DWORD{PAGE_READONLY}, DWORD{0}}) {
        ::SetLastError(kCallersError);
        EXPECT_FALSE(::VirtualProtect(address, size, protect, nullptr));
        const DWORD raw = ::GetLastError();
        const Answer answer = Ask([&] { return manager.get()->VirtualProtect(address, size, protect, nullptr); });
        EXPECT_HR(E_POINTER, answer.hr);
        EXPECT_EQ(raw, answer.last_error) << address << ' ' << size << ' ' << protect;
      }
      for (const SIZE_T length : {size, SIZE_T{sizeof(MEMORY_BASIC_INFORMATION)}}) {
        ::SetLastError(kCallersError);
        EXPECT_EQ(0u, ::VirtualQuery(address, nullptr, length));
        const DWORD raw = ::GetLastError();
        SIZE_T written = 12345;
        const Answer answer = Ask([&] { return manager.get()->VirtualQuery(address, nullptr, length, &written); });
        EXPECT_HR(E_POINTER, answer.hr);
        EXPECT_EQ(0u, written);
        EXPECT_EQ(raw, answer.last_error) << address << ' ' << length;
      }
    }
  }
  EXPECT_HR(S_OK, manager.get()->VirtualFree(page, 0, MEM_RELEASE));
}

// ---- E_INVALIDARG

TEST(InvalidArgument, AllocationsRefuseAnInvalidCriticality) {
  HostOverFake host;
  for (const int level : {-1, 3, 1 << 30}) {
    for (const auto method : {kClrHostMemoryVirtualAlloc, kClrHostMemoryMallocAlloc, kClrHostMemoryMallocDebugAlloc}) {
      const Answer answer = host.Call(method, static_cast<EMemoryCriticalLevel>(level));
      EXPECT_HR(E_INVALIDARG, answer.hr) << level;
      EXPECT_EQ(DWORD{ERROR_INVALID_PARAMETER}, answer.last_error);
      EXPECT_TRUE(answer.outputs_cleared);
    }
  }
}

TEST(InvalidArgument, CreateMallocRefusesUnknownFlags) {
  HostOverFake host;
  auto* made = static_cast<IHostMalloc*>(Poison());
  EXPECT_HR(E_INVALIDARG, host.manager()->CreateMalloc(4, &made));
  EXPECT_EQ(nullptr, made);
  for (const DWORD kind : {0u, 1u, 2u, 3u}) {
    ComReference<IHostMalloc> heap;
    EXPECT_HR(S_OK, host.manager()->CreateMalloc(kind, heap.Receive())) << kind;
  }
}

TEST(InvalidArgument, IsReturnedForWin32sInvalidParameters) {
  struct Case {
    const char* what;
    SIZE_T size;
    DWORD type;
    DWORD protect;
  };
  constexpr Case kCases[] = {
      {"size 0", 0, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
      {"no type", kPage, 0, PAGE_READWRITE},
      {"an unknown type", kPage, 0x80000000, PAGE_READWRITE},
      {"no protection", kPage, MEM_COMMIT, 0},
      {"two protections", kPage, MEM_COMMIT, PAGE_READONLY | PAGE_READWRITE},
      {"copy on write", kPage, MEM_COMMIT, PAGE_WRITECOPY},
  };
  HostOverFake host;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.what);
    void* memory = Poison();
    const Answer answer =
        Ask([&] { return host.manager()->VirtualAlloc(nullptr, c.size, c.type, c.protect, eTaskCritical, &memory); });
    EXPECT_HR(E_INVALIDARG, answer.hr);
    EXPECT_EQ(DWORD{ERROR_INVALID_PARAMETER}, answer.last_error);
    EXPECT_EQ(nullptr, memory);
  }
  // The memory is the manager's, but these arguments cannot free it.
  EXPECT_HR(E_INVALIDARG, host.manager()->VirtualFree(host.region(), kPage, MEM_RELEASE));
  EXPECT_HR(E_INVALIDARG, host.manager()->VirtualFree(host.region(), 0, 0));
  DWORD old = 0;
  EXPECT_HR(E_INVALIDARG, host.manager()->VirtualProtect(host.page(), kPage, 0, &old));
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(InvalidArgument, VirtualQueryRefusesATooSmallBuffer) {
  HostOverFake host;
  MEMORY_BASIC_INFORMATION info{};
  SIZE_T written = 7;
  const Answer answer =
      Ask([&] { return host.manager()->VirtualQuery(host.page(), &info, sizeof(info) - 1, &written); });
  EXPECT_HR(E_INVALIDARG, answer.hr);
  EXPECT_EQ(DWORD{ERROR_BAD_LENGTH}, answer.last_error);
  EXPECT_EQ(SIZE_T{0}, written);
}

TEST(InvalidArgument, AcquiredVirtualAddressSpaceRefusesImpossibleViews) {
  HostOverFake host;
  struct Case {
    std::uintptr_t base;
    SIZE_T size;
  };
  const Case cases[] = {{0, kGranule}, {0x10001, kGranule}, {0x10000, 0}, {0x10000, SIZE_MAX}};
  for (const Case& c : cases) {
    EXPECT_HR(E_INVALIDARG, host.manager()->AcquiredVirtualAddressSpace(reinterpret_cast<void*>(c.base), c.size));
  }
}

}  // namespace
}  // namespace clr_host_memory::test
