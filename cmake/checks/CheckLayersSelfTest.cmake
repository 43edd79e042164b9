# cmake -DWORK=<scratch folder> -P CheckLayersSelfTest.cmake
# Tests that CheckLayers.cmake reports each kind of violation and accepts correct trees.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/SelfTest.cmake")

# check(<what> <file under src> <its text> <regular expression for the expected output, or OK>)
# Runs CheckLayers.cmake on a small tree with this file added.
function(check what path text expected)
  file(REMOVE_RECURSE "${WORK}")
  file(WRITE "${WORK}/src/README.md"
       "# Layers\n1. `base`: types\n2. `os`: seam\n3. `ledger`\n4. `os/windows`: Win32\n5. `com`\n")
  file(WRITE "${WORK}/src/base/size.h" "#pragma once\n#include <cstdint>\n")
  file(WRITE "${WORK}/src/ledger/map.h" "#include \"base/size.h\"\n")
  file(WRITE "${WORK}/src/os/windows/memory.h" "#include <windows.h>\n#include \"base/size.h\"\n")
  file(WRITE "${WORK}/src/com/manager.h" "#include <windows.h>\n#include \"ledger/map.h\"\n")
  file(WRITE "${WORK}/src/${path}" "${text}")
  expect_check("${what}" CheckLayers.cmake "${expected}" "-DTREE=${WORK}")
endfunction()

check("a clean tree" base/other.h "#include \"base/size.h\"\n" OK)
check("a public header is nobody's layer" base/a.h "#include <clr_host_memory/x.h>\n" OK)
check("a comment is no include" base/a.h "// #include \"com/manager.h\"\n" OK)
check("a layer above" base/bad.h "#pragma once\n\n#include \"ledger/map.h\"\n"
      "src/base/bad.h:3: layer base includes \"ledger/map.h\" of layer ledger")
check("brackets do not hide it" base/bad.h "#include <ledger/map.h>\n" "src/base/bad.h:1:")
check("spaces do not hide it" base/bad.h "  #  include   \"com/manager.h\"\n" "src/base/bad.h:1:")
check("lines are counted past ; and [" base/bad.cpp
      "int a[2] = {1, 2};\nint b; int c;\n#include \"com/manager.h\"\n" "src/base/bad.cpp:3:")
check("a subfolder that is a layer of its own, above" os/bad.h "#include \"os/windows/memory.h\"\n"
      "layer os includes \"os/windows/memory.h\" of layer os/windows")
check("windows.h in a portable layer" ledger/bad.cpp "#include <Windows.h>\n"
      "src/ledger/bad.cpp:1: <Windows.h> in portable layer ledger")
check("a folder that is no layer" extra/x.h "\n" "src/extra/x.h:1: the folder is not in the list")
check("a path upwards" ledger/bad.h "#include \"../base/size.h\"\n" "write it relative to src")
check("a header relative to its own folder" ledger/bad.h "#include \"map.h\"\n" "is in no layer")
file(REMOVE_RECURSE "${WORK}")
