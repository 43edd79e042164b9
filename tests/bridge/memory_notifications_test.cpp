// The low- and high-memory notifications that a bridged CLR gets, and how the manager signals them.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "bridge/fake_clr.h"
#include "bridge/state/memory_notifications.h"

namespace clrhm_test {
namespace {

constexpr DWORD kLastError = 4711;  // the caller's previous last error
constexpr auto kLow = LowMemoryResourceNotification;
constexpr auto kHigh = HighMemoryResourceNotification;

bool IsSignalled(HANDLE event) {
  const DWORD result = WaitForSingleObject(event, 0);
  EXPECT_TRUE(result == WAIT_OBJECT_0 || result == WAIT_TIMEOUT) << result;
  return result == WAIT_OBJECT_0;
}

class Notifications : public BridgedFakeClr {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    low_ = clr_.create_notification(kLow);
    high_ = clr_.create_notification(kHigh);
    ASSERT_NE(low_, nullptr);
    ASSERT_NE(high_, nullptr);
  }
  void TearDown() override {
    BridgedFakeClr::TearDown();
    EXPECT_EQ(manager_.callback().get(), nullptr) << "the bridge leaves no callback behind";
    EXPECT_FALSE(IsSignalled(low_));
    EXPECT_FALSE(IsSignalled(high_));
    CloseHandle(low_);
    CloseHandle(high_);
  }
  void Say(EMemoryAvailable available) {
    const auto callback = manager_.callback();
    ASSERT_TRUE(callback) << "nothing is registered";
    EXPECT_EQ(callback->OnMemoryNotification(available), S_OK);
  }
  // Returns the state that the fake CLR sees, TRUE or FALSE; -1: the query failed.
  int Queried(HANDLE notification) {
    BOOL state = 17;
    SetLastError(kLastError);
    if (!clr_.query_notification(notification, &state)) return -1;
    EXPECT_EQ(GetLastError(), kLastError);
    return state;
  }

  HANDLE low_ = nullptr;
  HANDLE high_ = nullptr;
};

TEST_F(BridgedFakeClr, CallbackIsRegisteredWithFirstNotification) {
  EXPECT_EQ(manager_.registrations(), 0);
  HANDLE low = clr_.create_notification(kLow);
  EXPECT_EQ(manager_.registrations(), 1);
  EXPECT_TRUE(manager_.callback());
  HANDLE high = clr_.create_notification(kHigh);
  EXPECT_EQ(manager_.registrations(), 1) << "once for all";
  CloseHandle(low);
  CloseHandle(high);
}

TEST_F(BridgedFakeClr, DetachWithoutNotificationUnregistersNothing) {
  bridge()->Detach();
  EXPECT_EQ(manager_.registrations(), 0) << "a callback there may be is someone else's";
}

TEST_F(Notifications, AreSignalledWhileManagerReportsTheirLevel) {
  const struct {
    EMemoryAvailable said;
    bool low;
    bool high;
  } table[] = {
      {eMemoryAvailableNeutral, false, false}, {eMemoryAvailableLow, true, false},
      {eMemoryAvailableLow, true, false},      {eMemoryAvailableHigh, false, true},
      {eMemoryAvailableLow, true, false},      {eMemoryAvailableNeutral, false, false},
      {eMemoryAvailableHigh, false, true},     {eMemoryAvailableNeutral, false, false},
  };
  EXPECT_FALSE(IsSignalled(low_));
  EXPECT_FALSE(IsSignalled(high_));
  int row_number = 0;
  for (const auto& row : table) {
    SCOPED_TRACE(row_number++);
    Say(row.said);
    EXPECT_EQ(IsSignalled(low_), row.low);
    EXPECT_EQ(IsSignalled(low_), row.low) << "a wait does not reset it";
    EXPECT_EQ(IsSignalled(high_), row.high);
    EXPECT_EQ(Queried(low_), row.low ? 1 : 0);
    EXPECT_EQ(Queried(high_), row.high ? 1 : 0);
  }
}

TEST_F(Notifications, WakeAWaitingThread) {
  std::atomic<DWORD> result{WAIT_FAILED};
  std::thread waiter([&] { result = WaitForSingleObject(low_, 60'000); });
  Say(eMemoryAvailableLow);
  waiter.join();
  EXPECT_EQ(result.load(), DWORD{WAIT_OBJECT_0});
}

TEST_F(Notifications, ShowTheLastOfTwoConcurrentLevels) {
  for (int round = 0; round < 60; ++round) {
    std::atomic<int> ready{0};
    const auto say = [&](EMemoryAvailable available) {
      const auto callback = manager_.callback();
      for (++ready; ready.load() < 2;) {
      }
      for (int time = 0; time < 20; ++time) callback->OnMemoryNotification(available);
    };
    std::thread other(say, eMemoryAvailableHigh);
    say(eMemoryAvailableLow);
    other.join();
    ASSERT_NE(IsSignalled(low_), IsSignalled(high_)) << "round " << round << ": the last was Low or High, never both";
  }
}

TEST_F(Notifications, AreUnchangedByAnInvalidLevel) {
  Say(eMemoryAvailableLow);
  EXPECT_EQ(manager_.callback()->OnMemoryNotification(static_cast<EMemoryAvailable>(0)), E_INVALIDARG);
  EXPECT_TRUE(IsSignalled(low_));
}

TEST_F(Notifications, EveryCallerGetsItsOwnHandle) {
  HANDLE second = clr_.create_notification(kLow);
  ASSERT_NE(second, nullptr);
  EXPECT_NE(second, low_);
  Say(eMemoryAvailableLow);
  EXPECT_TRUE(IsSignalled(second));
  EXPECT_TRUE(CloseHandle(second));
  EXPECT_TRUE(IsSignalled(low_));
  Say(eMemoryAvailableNeutral);
  EXPECT_FALSE(IsSignalled(low_)) << "the other's handle goes on";
}

TEST_F(Notifications, CannotBeSetByTheCaller) {
  EXPECT_FALSE(SetEvent(low_));
  EXPECT_EQ(GetLastError(), DWORD{ERROR_ACCESS_DENIED});
  EXPECT_FALSE(IsSignalled(low_));
  DWORD flags = HANDLE_FLAG_INHERIT;
  EXPECT_TRUE(GetHandleInformation(low_, &flags));
  EXPECT_EQ(flags, 0U) << "children do not inherit them";
}

TEST_F(Notifications, CreationKeepsTheLastError) {
  SetLastError(kLastError);
  HANDLE another = clr_.create_notification(kHigh);
  EXPECT_EQ(GetLastError(), kLastError);
  CloseHandle(another);
}

TEST_F(Notifications, CreatedDuringLowAreSignalledAtOnce) {
  Say(eMemoryAvailableLow);
  HANDLE late = clr_.create_notification(kLow);
  EXPECT_TRUE(IsSignalled(late));
  CloseHandle(late);
}

TEST_F(Notifications, OtherHandlesAreQueriedByWin32) {
  HANDLE win32s = CreateMemoryResourceNotification(kHigh);
  HANDLE semaphore = CreateSemaphoreW(nullptr, 0, 1, nullptr);
  for (HANDLE other : {win32s, semaphore, HANDLE{nullptr}}) {
    BOOL expected_state = 17;
    SetLastError(kLastError);
    const BOOL expected = QueryMemoryResourceNotification(other, &expected_state);
    const DWORD expected_error = GetLastError();
    BOOL state = 17;
    SetLastError(kLastError);
    EXPECT_EQ(clr_.query_notification(other, &state), expected);
    EXPECT_EQ(GetLastError(), expected_error);
    EXPECT_EQ(state, expected_state);
    EXPECT_EQ(clr_host_memory::NotificationState(other), std::nullopt);
  }
  CloseHandle(semaphore);
  if (win32s != nullptr) CloseHandle(win32s);
}

TEST_F(Notifications, AreReadableThroughWin32) {
  // A CLR that holds a handle after detach queries it through Win32.
  Say(eMemoryAvailableLow);
  BOOL state = 17;
  EXPECT_TRUE(QueryMemoryResourceNotification(low_, &state));
  EXPECT_EQ(state, TRUE);
  EXPECT_TRUE(QueryMemoryResourceNotification(high_, &state));
  EXPECT_EQ(state, FALSE);
}

TEST_F(Notifications, UnknownTypesAreHandledByWin32) {
  // A caller written in C may pass such a value.
  using Create = HANDLE(WINAPI*)(int type);
  const auto win32s = reinterpret_cast<Create>(&CreateMemoryResourceNotification);
  const auto bridged = reinterpret_cast<Create>(clr_.create_notification);
  SetLastError(kLastError);
  HANDLE expected = win32s(7);
  const DWORD expected_error = GetLastError();
  SetLastError(kLastError);
  EXPECT_EQ(bridged(7), expected);
  EXPECT_EQ(GetLastError(), expected_error);
}

TEST_F(Notifications, DetachWhileSignalledResetsAndUnregisters) {
  Say(eMemoryAvailableLow);
  const auto kept = manager_.callback();
  bridge()->Detach();
  EXPECT_FALSE(IsSignalled(low_)) << "the handle lives, and Low is over";
  EXPECT_EQ(manager_.callback().get(), nullptr);
  EXPECT_EQ(manager_.registrations(), 2);
  EXPECT_EQ(manager_.references(), 1U);

  EXPECT_EQ(kept->OnMemoryNotification(eMemoryAvailableLow), S_OK) << "one that was on its way";
  EXPECT_FALSE(IsSignalled(low_));
  HANDLE win32s = clr_.create_notification(kLow);
  EXPECT_EQ(manager_.registrations(), 2) << "nothing comes in after detach";
  if (win32s != nullptr) CloseHandle(win32s);
}

TEST_F(Notifications, NextBridgeSignalsHandlesOfThePreviousBridge) {
  const auto earlier = manager_.callback();
  bridge()->Detach();
  RecordingManager next;
  {
    Attachment attachment(clr_.get(), &next);
    ASSERT_EQ(attachment.hr, S_OK);
    HANDLE another = clr_.create_notification(kLow);
    EXPECT_EQ(next.registrations(), 1);
    const auto callback = next.callback();
    ASSERT_TRUE(callback);
    callback->OnMemoryNotification(eMemoryAvailableLow);
    EXPECT_TRUE(IsSignalled(low_));
    EXPECT_TRUE(IsSignalled(another));
    earlier->OnMemoryNotification(eMemoryAvailableNeutral);
    EXPECT_TRUE(IsSignalled(low_)) << "the manager of the bridge before is not listened to";
    CloseHandle(another);
  }
  EXPECT_FALSE(IsSignalled(low_));
  EXPECT_EQ(next.references(), 1U);
}

TEST_F(BridgedFakeClr, NotificationIsWin32sIfManagerRefusesTheCallback) {
  manager_.register_answer = HOST_E_CLRNOTAVAILABLE;
  SetLastError(kLastError);
  HANDLE expected = CreateMemoryResourceNotification(kLow);
  const DWORD expected_error = GetLastError();
  SetLastError(kLastError);
  HANDLE win32s = clr_.create_notification(kLow);
  EXPECT_EQ(win32s == nullptr, expected == nullptr);
  EXPECT_EQ(GetLastError(), expected_error);
  EXPECT_EQ(clr_host_memory::NotificationState(win32s), std::nullopt);
  if (win32s != nullptr) CloseHandle(win32s);
  if (expected != nullptr) CloseHandle(expected);

  manager_.register_answer = S_OK;
  HANDLE ours = clr_.create_notification(kLow);
  EXPECT_NE(clr_host_memory::NotificationState(ours), std::nullopt) << "a later one is tried again";
  EXPECT_TRUE(manager_.callback());
  CloseHandle(ours);
}

TEST(NotificationsLifetime, DetachDuringRegistrationLeavesNothingRegistered) {
  FakeCoreClr clr;
  RecordingManager manager;
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK);
  manager.inside_register = [&] {
    inside = true;
    while (!leave.load()) Sleep(1);
  };
  HANDLE low = nullptr;
  std::thread caller([&] { low = clr.create_notification(kLow); });
  while (!inside.load()) Sleep(1);
  attachment.bridge->Detach();  // stops waiting for the call after a second
  leave = true;
  caller.join();
  EXPECT_EQ(manager.registrations(), 2);
  EXPECT_EQ(manager.callback().get(), nullptr);
  EXPECT_EQ(clr_host_memory::NotificationState(low), std::nullopt) << "Win32's, for there is no bridge";
  if (low != nullptr) CloseHandle(low);
}

TEST(NotificationsLifetime, ConcurrentNotifyAndDetachLeaveNothingSignalled) {
  FakeCoreClr clr;
  RecordingManager manager;
  std::vector<HANDLE> handles;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> said{0};
  std::vector<std::thread> threads;
  for (int index = 0; index < 3; ++index) {
    threads.emplace_back([&, index] {
      clr_host_memory::ComReference<ICLRMemoryNotificationCallback> callback;
      for (uint64_t turn = 0; !stop.load(); ++turn) {
        if (turn % 8 == 0) callback = manager.callback();  // so the threads often notify a withdrawn callback
        if (!callback) continue;
        callback->OnMemoryNotification(index == 0 && turn % 2 == 0 ? eMemoryAvailableHigh : eMemoryAvailableLow);
        ++said;
      }
    });
  }
  int seen_low = 0;
  int seen_high = 0;
  for (int round = 0; round < 100; ++round) {
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    handles.push_back(clr.create_notification(kLow));
    handles.push_back(clr.create_notification(kHigh));
    const uint64_t before = said.load();
    const ULONGLONG start = GetTickCount64();
    while (said.load() - before < 50 && GetTickCount64() - start < 5000) {
      if (WaitForSingleObject(handles[0], 0) == WAIT_OBJECT_0) ++seen_low;
      if (WaitForSingleObject(handles[1], 0) == WAIT_OBJECT_0) ++seen_high;
    }
    attachment.bridge->Detach();
    EXPECT_EQ(manager.references(), 1U);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(seen_low, 0);
  EXPECT_GT(seen_high, 0);
  for (HANDLE handle : handles) {
    EXPECT_FALSE(IsSignalled(handle));
    CloseHandle(handle);
  }
}

TEST(MemoryNotificationCallback, QueryInterfaceFollowsTheRules) {
  using clr_host_memory::MemoryNotificationCallback;
  constexpr GUID kUnknown = {0, 0, 0, {0xC0, 0, 0, 0, 0, 0, 0, 0x46}};
  auto* callback = new MemoryNotificationCallback();
  void* as_unknown = nullptr;
  void* as_callback = nullptr;
  void* none = this;
  EXPECT_EQ(callback->QueryInterface(kUnknown, &as_unknown), S_OK);
  EXPECT_EQ(callback->QueryInterface(clr_host_memory::kIidClrMemoryNotificationCallback, &as_callback), S_OK);
  EXPECT_EQ(as_unknown, as_callback);
  EXPECT_EQ(callback->QueryInterface(clr_host_memory::kIidHostMalloc, &none), E_NOINTERFACE);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(callback->QueryInterface(kUnknown, nullptr), E_POINTER);
  EXPECT_EQ(callback->OnMemoryNotification(eMemoryAvailableLow), S_OK) << "registered nowhere, it changes nothing";
  EXPECT_EQ(callback->Release(), 2U);
  EXPECT_EQ(callback->Release(), 1U);
  EXPECT_EQ(callback->Release(), 0U);
}

TEST(MemoryNotificationCallback, RefusesToRegisterAfterWithdraw) {
  RecordingManager manager;
  clr_host_memory::ComReference<clr_host_memory::MemoryNotificationCallback> callback(
      new clr_host_memory::MemoryNotificationCallback());
  callback->Withdraw(&manager);
  callback->Withdraw(&manager);
  EXPECT_EQ(callback->Register(&manager), HOST_E_CLRNOTAVAILABLE);
  EXPECT_EQ(manager.registrations(), 0);
}

}  // namespace
}  // namespace clrhm_test
