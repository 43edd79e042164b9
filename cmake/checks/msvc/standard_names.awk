# awk -f standard_names.awk FILE...: finds names of the C++ standard library whose header a file does not include,
# itself or through the project's headers. Visual C++'s library includes other headers than MinGW's does, so a missing
# #include often shows only there. FILE...: all sources and headers of the project, as paths from its root. Prints one
# line for each finding. Exits with 1 if there are any.
#
# An integer type such as std::uint64_t needs no include of its own here: every header of the library brings them.

# header(HEADERS, NAMES): NAMES are in each of HEADERS.
function header(headers, names,   list, i, n) {
  n = split(names, list, " ")
  for (i = 1; i <= n; ++i) in_headers[list[i]] = in_headers[list[i]] " " headers
}

BEGIN {
  header("algorithm", "all_of any_of none_of find find_if find_if_not count count_if equal copy copy_n copy_if " \
    "copy_backward transform replace fill fill_n generate unique reverse rotate sort stable_sort stable_partition " \
    "partition is_sorted lower_bound upper_bound binary_search equal_range min max minmax clamp min_element " \
    "max_element minmax_element for_each search mismatch nth_element remove_if shuffle " \
    "lexicographical_compare_three_way")
  header("array", "array to_array")
  header("atomic", "atomic atomic_ref atomic_signal_fence atomic_thread_fence memory_order memory_order_relaxed " \
    "memory_order_acquire memory_order_release memory_order_acq_rel memory_order_seq_cst")
  header("bit", "bit_cast bit_ceil bit_floor bit_width countl_zero countl_one countr_zero countr_one has_single_bit " \
    "popcount rotl rotr endian")
  header("cctype", "isdigit isspace isalpha isalnum isupper islower toupper tolower isxdigit")
  header("charconv", "from_chars to_chars chars_format")
  header("chrono thread mutex condition_variable", "chrono chrono_literals")
  header("cmath", "ceil floor sqrt pow log exp lround isnan isfinite")
  header("compare", "strong_ordering partial_ordering weak_ordering")
  header("condition_variable", "condition_variable condition_variable_any")
  header("cstdio", "printf fprintf snprintf vsnprintf fputs fputc puts fopen fclose fread fwrite fflush perror")
  header("cstdlib", "malloc calloc realloc free abort exit quick_exit atexit getenv system atoi atol strtol strtoul " \
    "strtoll strtoull strtod")
  header("cmath cstdlib", "abs")
  header("cstring", "memcpy memmove memset memcmp memchr strlen strcmp strncmp strcpy strchr strrchr strstr strerror")
  header("cwchar", "swprintf wprintf fwprintf wcslen wcscmp wcstol wcstoul wcstoll wcstoull wmemcpy")
  header("deque", "deque")
  header("exception", "exception exception_ptr current_exception rethrow_exception terminate set_terminate " \
    "uncaught_exceptions")
  header("exception stdexcept", "exception")
  header("expected", "expected unexpected")
  header("filesystem", "filesystem")
  header("fstream", "ifstream ofstream fstream")
  header("functional", "function bind invoke reference_wrapper ref cref less greater plus hash")
  header("future", "future promise async packaged_task")
  header("initializer_list vector string array map set", "initializer_list")
  header("iomanip", "setw setfill setprecision")
  header("iostream", "cout cerr clog cin wcout wcerr")
  header("iterator", "back_inserter inserter istreambuf_iterator ostream_iterator istream_iterator")
  header("iterator array vector string string_view deque map set list", "prev next distance advance begin end size " \
    "data empty")
  header("latch", "latch")
  header("limits", "numeric_limits")
  header("list", "list")
  header("map", "map multimap")
  header("memory", "unique_ptr shared_ptr weak_ptr make_unique make_shared addressof construct_at destroy_at " \
    "uninitialized_value_construct_n uninitialized_copy enable_shared_from_this allocator")
  header("mutex", "mutex recursive_mutex lock_guard unique_lock scoped_lock call_once once_flag defer_lock adopt_lock")
  header("new", "bad_alloc nothrow nothrow_t align_val_t launder hardware_destructive_interference_size")
  header("numeric", "accumulate iota gcd lcm reduce inner_product partial_sum")
  header("optional", "optional nullopt nullopt_t make_optional")
  header("optional utility", "in_place in_place_t")
  header("ostream iostream sstream fstream", "ostream endl flush")
  header("ios iostream ostream istream sstream fstream", "hex dec fixed ios ios_base streamsize")
  header("random", "minstd_rand mt19937 mt19937_64 random_device uniform_int_distribution")
  header("ratio chrono", "nano micro milli ratio")
  header("regex", "regex regex_search regex_match regex_replace smatch cmatch")
  header("semaphore", "binary_semaphore counting_semaphore")
  header("set", "set multiset")
  header("shared_mutex", "shared_mutex shared_lock")
  header("source_location", "source_location")
  header("span", "span as_bytes as_writable_bytes dynamic_extent")
  header("sstream", "ostringstream istringstream stringstream wostringstream")
  header("stdexcept", "runtime_error logic_error invalid_argument out_of_range length_error domain_error")
  header("string", "string wstring u16string to_string to_wstring stoi stol stoul stoll stoull stod getline " \
    "char_traits")
  header("string_view", "string_view wstring_view u16string_view")
  header("system_error", "error_code errc error_condition system_error system_category generic_category")
  header("thread", "thread jthread this_thread")
  header("tuple", "tuple make_tuple tie forward_as_tuple apply ignore")
  header("tuple utility array variant", "get tuple_size tuple_element")
  header("type_traits", "is_same_v is_trivially_copyable_v is_convertible_v is_copy_constructible_v " \
    "is_nothrow_move_constructible_v is_standard_layout_v is_integral_v is_enum_v decay_t remove_cvref_t " \
    "remove_reference_t conditional_t enable_if_t invoke_result_t underlying_type_t make_unsigned_t make_signed_t " \
    "void_t true_type false_type is_constant_evaluated")
  header("typeinfo", "type_info bad_cast")
  header("unordered_map", "unordered_map")
  header("unordered_set", "unordered_set")
  header("utility", "exchange index_sequence make_index_sequence index_sequence_for cmp_less cmp_greater in_range " \
    "to_underlying")
  # Visual C++'s <utility> is in each of its containers, in <memory>, <functional>, <algorithm> and so on.
  header("utility map algorithm memory string vector optional functional array tuple variant chrono thread", \
    "move forward swap pair make_pair declval as_const")
  header("variant", "variant visit get_if holds_alternative monostate")
  header("vector", "vector")
  header("vector string deque list map set", "erase_if erase")
}

FNR == 1 {
  file = FILENAME
  known[file]
  files[++count] = file
}

/^[ \t]*#[ \t]*include/ {
  if (match($0, /<[^>]*>/)) system_of[file] = system_of[file] "\n" substr($0, RSTART + 1, RLENGTH - 2)
  if (match($0, /"[^"]*"/)) project_of[file] = project_of[file] "\n" substr($0, RSTART + 1, RLENGTH - 2)
  next
}

index($0, "std::") {
  text = $0
  gsub(/\\./, "", text)
  gsub(/"[^"]*"/, "\"\"", text)
  sub(/\/\/.*/, "", text)
  while (match(text, /(^|[^A-Za-z0-9_:])std::[a-z_0-9]+/)) {
    name = substr(text, RSTART, RLENGTH)
    sub(/.*std::/, "", name)
    if (name in in_headers && !((file, name) in used)) {
      used[file, name] = FNR
      names_of[file] = names_of[file] " " name
    }
    text = substr(text, RSTART + RLENGTH)
  }
}

# Returns the project's file that the text of an #include in FROM means, or nothing.
function resolve(from, text,   folder, i, n, folders) {
  folder = from
  sub(/[^\/]*$/, "", folder)
  n = split(folder " src/ tests/ include/", folders, " ")
  for (i = 1; i <= n; ++i) {
    if ((folders[i] text) in known) return folders[i] text
  }
  return ""
}

END {
  for (f = 1; f <= count; ++f) {
    split("", seen); split("", included)
    queue[1] = files[f]; seen[files[f]]; length_of_queue = 1
    for (i = 1; i <= length_of_queue; ++i) {
      n = split(system_of[queue[i]] project_of[queue[i]], list, "\n")
      for (j = 1; j <= n; ++j) {
        included[list[j]]
        target = list[j] == "" ? "" : resolve(queue[i], list[j])
        if (target != "" && !(target in seen)) { seen[target]; queue[++length_of_queue] = target }
      }
    }
    n = split(names_of[files[f]], names, " ")
    for (i = 1; i <= n; ++i) {
      found = 0
      m = split(in_headers[names[i]], headers, " ")
      for (j = 1; j <= m; ++j) if (headers[j] in included) found = 1
      if (!found) {
        printf "%s:%d: std::%s needs #include <%s>\n", files[f], used[files[f], names[i]], names[i], headers[1]
        failed = 1
      }
    }
  }
  exit failed
}
