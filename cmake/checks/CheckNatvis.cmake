# cmake -DTREE=<source tree> -P CheckNatvis.cmake
#
# Fails if src/clr_host_memory.natvis names a type that no header below src defines, or a member that the type does not
# have. The debugger itself ignores such an entry silently.
cmake_minimum_required(VERSION 3.25)

if(NOT TREE)
  set(TREE "${CMAKE_CURRENT_LIST_DIR}/../..")
endif()
get_filename_component(TREE "${TREE}" ABSOLUTE)
set(natvis "${TREE}/src/clr_host_memory.natvis")

# Semicolons, brackets and line ends are replaced: they would split or join the elements of CMake's lists.
function(read_text file variable)
  file(READ "${file}" text)
  string(REGEX REPLACE "[][;]" " " text "${text}")
  set(${variable} "${text}" PARENT_SCOPE)
endfunction()

set(headers "")
file(GLOB_RECURSE files "${TREE}/src/*.h")
foreach(file IN LISTS files)
  read_text("${file}" text)
  string(REGEX REPLACE "//[^\n]*" "" text "${text}")
  string(APPEND headers "${text}")
endforeach()

read_text("${natvis}" text)
foreach(entity "&amp" "&lt" "&gt")
  string(REPLACE "${entity}" " " text "${text}")
endforeach()
string(REPLACE "<Type " ";" types "${text}")
list(POP_FRONT types)

set(problems 0)
set(names_seen 0)
foreach(type IN LISTS types)
  string(REGEX MATCH "clr_host_memory::([A-Za-z]+)" found "${type}")
  set(name "${CMAKE_MATCH_1}")
  # The definition ends at the first closing brace in the first column.
  string(REGEX MATCH "\n(struct|class)[ A-Za-z]* ${name} {.*" body "${headers}")
  if(body STREQUAL "")
    message("${natvis}: no header defines ${name}")
    math(EXPR problems "${problems} + 1")
    continue()
  endif()
  string(FIND "${body}" "\n}" end)
  string(SUBSTRING "${body}" 0 ${end} body)

  # The expressions: conditions, the parts in braces, and the items.
  string(REGEX MATCHALL "Condition=\"[^\"]*\"|{[^}]*}|<Item [^>]*>[^<]*<" expressions "${type}")
  foreach(expression IN LISTS expressions)
    string(REGEX REPLACE "^(Condition=|<Item [^>]*>)" "" expression "${expression}")
    string(REGEX REPLACE "clr_host_memory::[A-Za-z]+|,[a-z]+|0x[0-9A-F]+" "" expression "${expression}")
    string(REGEX MATCHALL "[A-Za-z_][A-Za-z0-9_]*" members "${expression}")
    list(REMOVE_ITEM members unsigned __int64 int)
    foreach(member IN LISTS members)
      math(EXPR names_seen "${names_seen} + 1")
      if(NOT body MATCHES "[^A-Za-z0-9_]${member}( =| |{|\n)")
        message("${natvis}: ${name} has no member ${member}")
        math(EXPR problems "${problems} + 1")
      endif()
    endforeach()
  endforeach()
endforeach()

if(names_seen EQUAL 0)
  message(FATAL_ERROR "natvis: no members in ${natvis}")
endif()
if(problems)
  message(FATAL_ERROR "natvis: ${problems} names are wrong")
endif()
message("natvis: ${names_seen} names of members are right")
