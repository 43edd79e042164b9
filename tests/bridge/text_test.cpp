#include <gtest/gtest.h>

#include <array>
#include <string>

#include "bridge/patch/import_table.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"

namespace clr_host_memory {
namespace {

TEST(Reason, IsCutBetweenTwoCharacters) {
  std::array<char, 4> buffer{};
  CopyReason("ab\xC3\xA9", buffer.data(), buffer.size());  // the two bytes of an e with an acute accent do not fit
  EXPECT_STREQ(buffer.data(), "ab");
  CopyReason("abc", buffer.data(), buffer.size());
  EXPECT_STREQ(buffer.data(), "abc");
  CopyReason("abcd", buffer.data(), buffer.size());
  EXPECT_STREQ(buffer.data(), "abc");
  CopyReason("x", buffer.data(), 1);
  EXPECT_STREQ(buffer.data(), "");
  CopyReason("x", nullptr, 10);
  CopyReason("x", buffer.data(), 0);
  EXPECT_STREQ(buffer.data(), "");
}

TEST(Reason, TextIsUtf8) {
  EXPECT_EQ(Utf8(L"C:\\\x00FC\\\x20AC"), "C:\\\xC3\xBC\\\xE2\x82\xAC");
  EXPECT_EQ(Utf8(L""), "");
}

TEST(Reason, AddressesAreWrittenWithAllDigits) {
  EXPECT_EQ(Hex(reinterpret_cast<void*>(std::uintptr_t{0xAB})), "0x" + std::string(sizeof(void*) * 2 - 2, '0') + "AB");
}

TEST(GcFileName, MatchesClrgcWithAnySuffix) {
  EXPECT_TRUE(IsGcFileName(L"clrgc.dll"));
  EXPECT_TRUE(IsGcFileName(L"C:\\dotnet\\shared\\clrgcexp.dll"));
  EXPECT_TRUE(IsGcFileName(L"Z:/x/CLRGC.DLL"));
  EXPECT_TRUE(IsGcFileName(L"clrgc"));
  EXPECT_FALSE(IsGcFileName(L"coreclr.dll"));
  EXPECT_FALSE(IsGcFileName(L"clrgc.pdb"));
  EXPECT_FALSE(IsGcFileName(L"C:\\clrgc.dll\\other.dll"));
  EXPECT_FALSE(IsGcFileName(L""));
}

TEST(Win32BaseLibrary, IsKernelOrCoreApiSet) {
  EXPECT_TRUE(IsWin32BaseLibrary("KERNEL32.dll"));
  EXPECT_TRUE(IsWin32BaseLibrary("kernelbase.DLL"));
  EXPECT_TRUE(IsWin32BaseLibrary("api-ms-win-core-memory-l1-1-0.dll"));
  EXPECT_TRUE(IsWin32BaseLibrary("API-MS-WIN-CORE-LIBRARYLOADER-l1-2-0.dll"));
  EXPECT_FALSE(IsWin32BaseLibrary("api-ms-win-crt-heap-l1-1-0.dll"));
  EXPECT_FALSE(IsWin32BaseLibrary("kernel32.dll.evil.dll"));
  EXPECT_FALSE(IsWin32BaseLibrary("ucrtbase.dll"));
  EXPECT_FALSE(IsWin32BaseLibrary(""));
}

TEST(CRuntimeLibrary, IsDebugByTheEndOfItsName) {
  for (const char* name :
       {"ucrtbase.dll", "msvcrt.dll", "MSVCR120.dll", "msvcr120_clr0400.dll", "api-ms-win-crt-heap-l1-1-0.dll"}) {
    EXPECT_TRUE(IsCRuntimeLibrary(name)) << name;
    EXPECT_FALSE(IsDebugCRuntimeLibrary(name)) << name;
  }
  for (const char* name : {"ucrtbased.dll", "msvcrtd.dll", "MSVCR120D.DLL"}) {
    EXPECT_TRUE(IsCRuntimeLibrary(name)) << name;
    EXPECT_TRUE(IsDebugCRuntimeLibrary(name)) << name;
  }
  EXPECT_FALSE(IsCRuntimeLibrary("kernel32.dll"));
  EXPECT_FALSE(IsDebugCRuntimeLibrary("mod.dll"));
  EXPECT_FALSE(IsDebugCRuntimeLibrary(""));
}

}  // namespace
}  // namespace clr_host_memory
