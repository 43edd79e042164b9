using System;
using System.Threading;

// ManyThreads [THREADS [MIB_EACH]]: THREADS (32) concurrent threads allocate MIB_EACH (16) each, in objects of all
// sizes, while the main thread collects.
internal static class ManyThreads
{
    private static int failures_;

    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : 32;
        long each = (args.Length > 1 ? long.Parse(args[1]) : 16) * 1024 * 1024;

        var threads = new Thread[count];
        for (int i = 0; i < count; ++i)
        {
            int seed = i;
            threads[i] = new Thread(() => Allocate(seed, each));
            threads[i].Start();
        }
        foreach (Thread thread in threads)
        {
            while (!thread.Join(20))
            {
                GC.Collect();
            }
        }
        Console.WriteLine(count + " threads done, " + failures_ + " failures");
        return failures_ == 0 ? 0 : 1;
    }

    private static void Allocate(int seed, long total)
    {
        var random = new Random(seed);
        var kept = new byte[16][];
        var marks = new byte[16];
        for (long allocated = 0; allocated < total;)
        {
            int slot = random.Next(kept.Length);
            if (kept[slot] != null && kept[slot][0] != marks[slot])
            {
                Interlocked.Increment(ref failures_);
                return;
            }
            int size = random.Next(16) == 0 ? random.Next(85_000, 300_000) : random.Next(16, 4096);
            kept[slot] = new byte[size];
            kept[slot][0] = marks[slot] = (byte)random.Next(256);
            allocated += size;
        }
    }
}
