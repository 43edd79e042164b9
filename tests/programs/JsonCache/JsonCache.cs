using System;
using System.Diagnostics;
using System.Text.Json;
using ClrHostMemory;

// JsonCache [LIVE_MIB [SECONDS [LIMIT_MIB]]]: a cache of LIVE_MIB (20) of JSON documents that serves requests for
// SECONDS (6). A request parses a document and stores a new one in its place. After 1 s it sets the manager's limit to
// LIMIT_MIB, and after 3.5 s back to what it was. Each 100 ms it prints a line
//   <ms> limit <bytes> charged <bytes> committed <bytes> heap <bytes> served <requests>
// with the manager's figures (0 without a manager), and the GC's, as of its last collection. Exit code 0; 42: an
// OutOfMemoryException was caught.
internal static class JsonCache
{
    private const int DocumentChars = 2048;  // 2 bytes each
    private const int ReportEveryMilliseconds = 100;
    private const int LowerAtMilliseconds = 1000;
    private const int RaiseAtMilliseconds = 3500;

    private static int Main(string[] args)
    {
        int live = args.Length > 0 ? int.Parse(args[0]) : 20;
        int seconds = args.Length > 1 ? int.Parse(args[1]) : 6;
        ulong? limit = args.Length > 2 ? ulong.Parse(args[2]) * 1024 * 1024 : null;
        HostMemory.TryGetCurrent(out HostMemory? memory);
        try
        {
            Serve(live, seconds, limit, memory);
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        return 0;
    }

    private static void Serve(int live, int seconds, ulong? lowered, HostMemory? memory)
    {
        var cache = new string[live * 1024 * 1024 / (2 * DocumentChars)];
        for (int i = 0; i < cache.Length; ++i)
        {
            cache[i] = Document(i, 0);
        }
        ulong? first = memory?.Limit;
        long changeAt = lowered != null ? LowerAtMilliseconds : long.MaxValue;
        var random = new Random(1);
        var watch = Stopwatch.StartNew();
        long served = 0;
        for (long next = 0; watch.Elapsed.TotalSeconds < seconds; ++served)
        {
            int id = random.Next(cache.Length);
            using (JsonDocument document = JsonDocument.Parse(cache[id]))
            {
                cache[id] = Document(id, document.RootElement.GetProperty("version").GetInt32() + 1);
            }
            if (watch.ElapsedMilliseconds >= next)
            {
                next = watch.ElapsedMilliseconds + ReportEveryMilliseconds;
                if (memory != null && next > changeAt)
                {
                    bool lowers = changeAt == LowerAtMilliseconds;
                    memory.Limit = lowers ? lowered : first;
                    changeAt = lowers ? RaiseAtMilliseconds : long.MaxValue;
                }
                GCMemoryInfo info = GC.GetGCMemoryInfo();
                HostMemoryStatistics? figures = memory?.GetStatistics();
                Console.WriteLine(watch.ElapsedMilliseconds + " limit " + (figures == null ? 0 : figures.Limit ?? ulong.MaxValue) +
                                  " charged " + (figures?.Charged ?? 0) + " committed " +
                                  info.TotalCommittedBytes + " heap " + info.HeapSizeBytes + " served " + served);
            }
        }
    }

    private static string Document(int id, int version)
    {
        string head = "{\"id\":" + id + ",\"version\":" + version + ",\"text\":\"";
        return head + new string('x', DocumentChars - head.Length) + "\"}";
    }
}
