using System;
using System.Diagnostics;
using ClrHostMemory;

// IdleCollections: an idle program that causes a Low notification, and later a Neutral one. Prints the number of
// collections in each phase, one line per phase: "before <n>", "low <n>", "neutral <n>".
//   before   in 2.5 seconds before the first notification
//   low      until the second collection, at most for a minute
//   neutral  in the first period of 5 seconds without a collection; of 12 attempts at most, the last one counts
// Run it with a generation 0 of 64 MiB (DOTNET_GCgen0size=4000000), of which it fills less than a quarter. Exit code 2
// without a manager.
internal static class IdleCollections
{
    // The finalizer thread checks for the notification after 2 seconds without work. This time is longer.
    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(2.5);

    private static readonly IdleWork idle_ = new();

    private static int Main()
    {
        if (!HostMemory.TryGetCurrent(out HostMemory? memory))
        {
            Console.WriteLine("no manager");
            return 2;
        }
        Console.WriteLine("before " + CollectionsUntil(int.MaxValue, Watched));

        memory.NotifyRuntime(MemoryAvailability.Low);
        Console.WriteLine("low " + CollectionsUntil(2, TimeSpan.FromSeconds(60)));

        memory.NotifyRuntime(MemoryAvailability.Neutral);
        // A collection that began earlier may end late, so a period without a collection is awaited. While memory is
        // low, such a period does not occur.
        int collections = -1;
        for (int attempt = 0; attempt < 12 && collections != 0; ++attempt)
        {
            collections = CollectionsUntil(1, 2 * Watched);
        }
        Console.WriteLine("neutral " + collections);
        return 0;
    }

    private static int CollectionsUntil(int enough, TimeSpan longest)
    {
        int start = GC.CollectionCount(0);
        var watch = Stopwatch.StartNew();
        while (watch.Elapsed < longest && GC.CollectionCount(0) - start < enough)
        {
            idle_.Do();
        }
        return GC.CollectionCount(0) - start;
    }
}
