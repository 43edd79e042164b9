// Stands in for Visual C++'s header: the functions of <string.h> and <wchar.h> that are in its own run-time.
#pragma once
#include <vcruntime.h>
_CRT_BEGIN_C_HEADER
void* __cdecl memcpy(void* to, const void* from, size_t bytes);
void* __cdecl memset(void* to, int value, size_t bytes);
_VCRTIMP void* __cdecl memmove(void* to, const void* from, size_t bytes);
_NODISCARD int __cdecl memcmp(const void* first, const void* second, size_t bytes);
_NODISCARD _VCRTIMP void* __cdecl memchr(const void* in, int value, size_t bytes);
_NODISCARD _VCRTIMP char* __cdecl strchr(const char* in, int character);
_NODISCARD _VCRTIMP char* __cdecl strrchr(const char* in, int character);
_NODISCARD _VCRTIMP char* __cdecl strstr(const char* in, const char* text);
_NODISCARD _VCRTIMP wchar_t* __cdecl wcschr(const wchar_t* in, wchar_t character);
_NODISCARD _VCRTIMP wchar_t* __cdecl wcsrchr(const wchar_t* in, wchar_t character);
_NODISCARD _VCRTIMP wchar_t* __cdecl wcsstr(const wchar_t* in, const wchar_t* text);
_CRT_END_C_HEADER
