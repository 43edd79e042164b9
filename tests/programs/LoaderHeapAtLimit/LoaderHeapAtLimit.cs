using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

// LoaderHeapAtLimit [MIB]: fills the GC's heap until memory runs out, and releases a little. Then it allocates MIB (16)
// from a loader heap, as loading types does. Exit code 0: all was allocated; 1: memory never ran out; 2: the loader
// heap was refused.
internal static class LoaderHeapAtLimit
{
    private const int BlockSize = 64 * 1024;
    private const int BlocksLetGo = 32;
    private const long NoMoreThan = 2048L * 1024 * 1024;

    private static int Main(string[] args)
    {
        int mebibytes = args.Length > 0 ? int.Parse(args[0]) : 16;
        var blocks = new List<byte[]>((int)(NoMoreThan / BlockSize));
        // Runs on its own thread: under Wine 8, .NET 8 may crash on the second exception on the same thread.
        bool ranOut = false;
        var filler = new Thread(() => ranOut = Fill(blocks));
        filler.Start();
        filler.Join();
        if (!ranOut)
        {
            Console.WriteLine("memory did not run out");
            return 1;
        }
        int filled = blocks.Count;
        blocks.RemoveRange(filled - BlocksLetGo, BlocksLetGo);
        try
        {
            for (int i = 0; i < mebibytes * 16; ++i)
            {
                // This memory lives as long as the type.
                RuntimeHelpers.AllocateTypeAssociatedMemory(typeof(LoaderHeapAtLimit), BlockSize);
            }
        }
        catch (OutOfMemoryException)
        {
            blocks.Clear();
            Console.WriteLine("the loader heap was refused");
            return 2;
        }
        // The charge is above the limit, so the GC gets no new memory. Printing needs some of the GC's own memory,
        // which this frees.
        blocks.Clear();
        GC.Collect();
        Console.WriteLine("filled " + filled / 16 + " MiB, then took " + mebibytes + " MiB of a loader heap");
        return 0;
    }

    // Returns true if memory ran out.
    private static bool Fill(List<byte[]> blocks)
    {
        try
        {
            for (long held = 0; held < NoMoreThan; held += BlockSize)
            {
                blocks.Add(new byte[BlockSize]);
            }
            return false;
        }
        catch (OutOfMemoryException)
        {
            return true;
        }
    }
}
