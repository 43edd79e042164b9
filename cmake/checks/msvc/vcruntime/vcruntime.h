// Stands in for the header of Visual C++ of the same name, which no package has. It declares what the Windows SDK's C
// run-time headers, libc++ and GoogleTest use of it. It is for compilers that check sources; there is no library to it.
#pragma once
#include <sal.h>
#include <vadefs.h>

// ---- the names of the SDK's C run-time headers ----
#define _CRT_PACKING 8
#ifdef __cplusplus
#define _CRT_BEGIN_C_HEADER __pragma(pack(push, _CRT_PACKING)) extern "C" {
#define _CRT_END_C_HEADER } __pragma(pack(pop))
#else
#define _CRT_BEGIN_C_HEADER __pragma(pack(push, _CRT_PACKING))
#define _CRT_END_C_HEADER __pragma(pack(pop))
#endif

#define _CRT_STRINGIZE_(text) #text
#define _CRT_STRINGIZE(text) _CRT_STRINGIZE_(text)
#define _CRT_WIDE_(text) L##text
#define _CRT_WIDE(text) _CRT_WIDE_(text)
#define _CRT_CONCATENATE_(first, second) first##second
#define _CRT_CONCATENATE(first, second) _CRT_CONCATENATE_(first, second)
#define _CRT_UNPARENTHESIZE_(...) __VA_ARGS__
#define _CRT_UNPARENTHESIZE(...) _CRT_UNPARENTHESIZE_ __VA_ARGS__

// The DLL form of the run-time (/MD).
#define _VCRTIMP __declspec(dllimport)
#define _CRTIMP __declspec(dllimport)

#define __CRTDECL __cdecl
#define __CLRCALL_OR_CDECL __cdecl
#define __CLRCALL_PURE_OR_CDECL __cdecl
#define __CLR_OR_THIS_CALL

#define _CRTNOALIAS __declspec(noalias)
#define _CRTRESTRICT __declspec(restrict)
#define _VCRT_ALIGN(bytes) __declspec(align(bytes))
#define _VCRT_NOALIAS __declspec(noalias)
#define _VCRT_RESTRICT __declspec(restrict)
#define _VCRT_ALLOCATOR __declspec(allocator)
#define _UNALIGNED __unaligned

#define _CRT_DEPRECATE_TEXT(text) __declspec(deprecated(text))
#ifdef _CRT_SECURE_NO_WARNINGS
#define _CRT_INSECURE_DEPRECATE(replacement)
#else
#define _CRT_INSECURE_DEPRECATE(replacement) \
  _CRT_DEPRECATE_TEXT("This function or variable may be unsafe. Consider using " #replacement " instead.")
#endif
#define _CRT_INSECURE_DEPRECATE_MEMORY(replacement)

#if defined(_MSVC_LANG) && _MSVC_LANG > 201402L
#define _HAS_CXX17 1
#define _HAS_NODISCARD 1
#define _NODISCARD [[nodiscard]]
#else
#define _HAS_CXX17 0
#define _HAS_NODISCARD 0
#define _NODISCARD
#endif
#define _HAS_EXCEPTIONS 1

// ---- basic types ----
#ifdef _WIN64
typedef unsigned __int64 size_t;
typedef __int64 ptrdiff_t;
typedef __int64 intptr_t;
#else
typedef unsigned int size_t;
typedef int ptrdiff_t;
typedef int intptr_t;
#endif
#ifndef __cplusplus
typedef unsigned short wchar_t;
#endif
#define _SIZE_T_DEFINED
#define _PTRDIFF_T_DEFINED
#define _INTPTR_T_DEFINED
#define _WCHAR_T_DEFINED

#ifndef NULL
#ifdef __cplusplus
#define NULL 0
#else
#define NULL ((void*)0)
#endif
#endif

// The number of an array's elements; a pointer does not compile in C++.
#ifdef __cplusplus
extern "C++" template <typename Element, size_t Count>
char (*__countof_helper(__unaligned Element (&)[Count]))[Count];
#define __crt_countof(array) (sizeof(*__countof_helper(array)))
#else
#define __crt_countof(array) (sizeof(array) / sizeof((array)[0]))
#endif
