include_guard(GLOBAL)

# clrhm_target_warnings(<target>)
# Strict warnings, as errors, for this project's own code; also links what every target of ours is
# compiled with (cmake/modules/Platform.cmake). Third-party headers come as SYSTEM and are not looked at.
function(clrhm_target_warnings target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:clrhm_platform>)
  if(MSVC)
    target_compile_options(${target} PRIVATE /W4 /WX /external:anglebrackets /external:W0)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
      # clang-cl warns where C++20's designated initializers leave members at their defaults, which
      # is what they are for.
      target_compile_options(${target} PRIVATE -Wno-missing-designated-field-initializers
                                               -Wno-missing-field-initializers
                                               -Wno-unknown-warning-option)
    endif()
    return()
  endif()
  target_compile_options(
    ${target}
    PRIVATE -Wall
            -Wextra
            -Wpedantic
            -Werror
            -Wshadow
            -Wconversion
            -Wsign-conversion
            -Wdouble-promotion
            -Wformat=2
            -Wimplicit-fallthrough
            -Wundef
            -Wunused
            # Not said for members left at their defaults by designated initializers' own design.
            -Wno-missing-field-initializers
            $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual
            -Wextra-semi
            -Wsuggest-override>)
  if(NOT WIN32)
    # COM interfaces have no virtual destructor, which would be one more slot in their vtables.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(
      ${target} PRIVATE -Wduplicated-cond -Wduplicated-branches -Wlogical-op
                        # GetProcAddress cannot be used without; Win32's own function pointers.
                        -Wno-cast-function-type
                        # GCC 12 says it of std::string's own operator+ (GCC bug 105651).
                        -Wno-restrict)
  endif()
endfunction()
