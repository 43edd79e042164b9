// Stands in for Visual C++'s header, which clang's <intrin.h> includes.
#pragma once
#include <vcruntime.h>
_CRT_BEGIN_C_HEADER
typedef struct __declspec(align(16)) _JUMP_BUFFER_SPACE { unsigned char bytes[256]; } jmp_buf[1];
int __cdecl _setjmp(jmp_buf buffer);
__declspec(noreturn) void __cdecl longjmp(jmp_buf buffer, int value);
_CRT_END_C_HEADER
#define setjmp _setjmp
