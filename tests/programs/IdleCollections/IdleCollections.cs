using System;
using System.Diagnostics;
using System.Threading;

// IdleCollections: an idle program is told that memory is low, and later that it is not. Prints how
// often it was collected meanwhile, a line each: "before <n>", "low <n>", "neutral <n>". "low" ends with
// the second collection, or after 60 seconds. Run it with a generation 0 of 64 MiB
// (DOTNET_GCgen0size=4000000), which it does not fill by itself. Exit code 2 without a manager.
internal static class IdleCollections
{
    // Longer than the 2 seconds without work after which the finalizer thread looks at the notification.
    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(2.5);

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
        Idle();  // lets a collection end that has begun
        Console.WriteLine("neutral " + CollectionsUntil(int.MaxValue, 2 * Watched));
        return 0;
    }

    private static int CollectionsUntil(int enough, TimeSpan longest)
    {
        int start = GC.CollectionCount(0);
        var watch = Stopwatch.StartNew();
        while (watch.Elapsed < longest && GC.CollectionCount(0) - start < enough)
        {
            Idle();
        }
        return GC.CollectionCount(0) - start;
    }

    // As little as an idle program does, and still more than the 1 % of memory in 2 seconds below which a GC ignores the
    // notification.
    private static void Idle()
    {
        for (int i = 0; i < 10; ++i)
        {
            GC.KeepAlive(new byte[40 * 1024]);
        }
        Thread.Sleep(100);
    }
}
