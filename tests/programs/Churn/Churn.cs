using System;
using System.Threading;

// Churn [MIB [THREADS]]: stresses the GC. THREADS (4) threads allocate MIB (256) in all: small objects, arrays on the
// large-object and on the pinned-object heap, and objects with finalizers. Every eighth small object lives long enough
// to reach generation 2. One of the threads regularly collects every generation in every mode. Every kept object is
// checked when it is released. Exit code 0: no object was changed and finalizers ran; 42: an OutOfMemoryException was
// caught; 1: an object was changed or no finalizer ran.
internal static class Churn
{
    private const int Window = 4096;
    private static int changed_;
    private static int out_of_memory_;
    private static int finalized_;

    private sealed class Finalized
    {
        public readonly byte[] Payload = new byte[200];
        ~Finalized() => Interlocked.Increment(ref finalized_);
    }

    private sealed class Node
    {
        public Node? Next;
        public byte[] Payload = Array.Empty<byte>();
        public byte Mark;
    }

    private static int Main(string[] args)
    {
        long total = (args.Length > 0 ? long.Parse(args[0]) : 256) * 1024 * 1024;
        int count = args.Length > 1 ? int.Parse(args[1]) : 4;
        var threads = new Thread[count];
        for (int i = 0; i < count; ++i)
        {
            int seed = i;
            threads[i] = new Thread(() => Guarded(seed, total / count));
            threads[i].Start();
        }
        foreach (Thread thread in threads)
        {
            thread.Join();
        }
        if (out_of_memory_ != 0)
        {
            // All memory that the threads held is garbage by now.
            GC.Collect();
            Console.WriteLine("OutOfMemoryException in " + out_of_memory_ + " threads");
            return changed_ == 0 ? 42 : 1;
        }
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Console.WriteLine("churned " + total / (1024 * 1024) + " MiB, " + changed_ + " changed, finalizers " +
                          (finalized_ > 0 ? "ran" : "did not run"));
        return changed_ == 0 && finalized_ > 0 ? 0 : 1;
    }

    // Catches OutOfMemoryException in this one place: Wine is unreliable when the exception unwinds nested frames.
    private static void Guarded(int seed, long bytes)
    {
        try
        {
            Allocate(seed, bytes);
        }
        catch (OutOfMemoryException)
        {
            Interlocked.Increment(ref out_of_memory_);
        }
    }

    private static void Allocate(int seed, long bytes)
    {
        var random = new Random(seed);
        var small = new Node?[Window];
        var large = new byte[4][];
        var pinned = new byte[16][];
        for (long allocated = 0, step = 0; allocated < bytes; ++step)
        {
            var node = new Node { Payload = new byte[random.Next(16, 600)], Mark = (byte)step };
            node.Payload[0] = node.Mark;
            allocated += node.Payload.Length + 64;
            if (step % 8 == 0)
            {
                Keep(small, (int)(step / 8 % Window), node);
            }
            if (step % 1024 == 0)
            {
                allocated += KeepArray(large, random.Next(large.Length), new byte[random.Next(85_000, 600_000)]);
            }
            if (step % 256 == 0)
            {
                allocated += KeepArray(pinned, random.Next(pinned.Length),
                                       GC.AllocateArray<byte>(random.Next(100, 8_000), pinned: true));
                GC.KeepAlive(new Finalized());
            }
            if (seed == 0 && step % 16384 == 0)
            {
                int kind = (int)(step / 16384);
                GC.Collect(kind % 3, kind % 2 == 0 ? GCCollectionMode.Forced : GCCollectionMode.Optimized,
                           blocking: kind % 5 != 0, compacting: kind % 4 == 0);
            }
        }
    }

    private static void Keep(Node?[] window, int index, Node node)
    {
        Node? old = window[index];
        if (old != null && old.Payload[0] != old.Mark)
        {
            Interlocked.Increment(ref changed_);
        }
        node.Next = window[(index + 1) % window.Length];
        if (node.Next != null)
        {
            node.Next.Next = null;
        }
        window[index] = node;
    }

    // Keeps an array. Its first and last byte hold two bytes of its length, so a changed array is detected.
    private static int KeepArray(byte[]?[] window, int index, byte[] array)
    {
        byte[]? old = window[index];
        if (old != null && (old[0] != (byte)old.Length || old[^1] != (byte)(old.Length >> 8)))
        {
            Interlocked.Increment(ref changed_);
        }
        array[0] = (byte)array.Length;
        array[^1] = (byte)(array.Length >> 8);
        window[index] = array;
        return array.Length;
    }
}
