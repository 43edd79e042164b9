using System;
using System.Diagnostics;

// IdleCollections: an idle program is told that memory is low, and later that it is not. Prints how
// often it was collected meanwhile, a line each: "before <n>", "low <n>", "neutral <n>".
//   before   in 2.5 seconds before it is told anything
//   low      until the second collection, at most for a minute
//   neutral  in the first 5 seconds without a collection; 12 attempts, of which the last one counts
// Run it with a generation 0 of 64 MiB (DOTNET_GCgen0size=4000000), of which it fills less than a quarter. Exit code 2
// without a manager.
internal static class IdleCollections
{
    // Longer than the 2 seconds without work after which the finalizer thread looks at the notification.
    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(2.5);

    private static readonly IdleWork idle_ = new();

    private static int Main()
    {
        if (HostManager.Find() is not IClrHostMemoryControl control)
        {
            Console.WriteLine("no manager");
            return 2;
        }
        Console.WriteLine("before " + CollectionsUntil(int.MaxValue, Watched));

        control.NotifyMemoryAvailable(HostManager.Low);
        Console.WriteLine("low " + CollectionsUntil(2, TimeSpan.FromSeconds(60)));

        control.NotifyMemoryAvailable(HostManager.Neutral);
        // A collection that had begun may end late, so only a quiet time counts. While memory is low there is none.
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
