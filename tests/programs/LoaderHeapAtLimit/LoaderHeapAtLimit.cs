using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

// LoaderHeapAtLimit [MIB]: fills the GC's heap until memory runs out, and releases a little. Then it allocates MIB (16)
// from a loader heap, as loading types does. Exit code 0: all was allocated; 1: memory never ran out; 2: the loader
// heap was refused.
internal static class LoaderHeapAtLimit
{
    private const int BlocksLetGo = 32;
    private const long NoMoreThan = 2048L * 1024 * 1024;

    private static int Main(string[] args)
    {
        int mebibytes = args.Length > 0 ? int.Parse(args[0]) : 16;
        List<byte[]>? blocks = FullHeap.Make(NoMoreThan, BlocksLetGo);
        if (blocks == null)
        {
            Console.WriteLine("memory did not run out");
            return 1;
        }
        int filled = blocks.Count + BlocksLetGo;
        try
        {
            for (int i = 0; i < mebibytes * 16; ++i)
            {
                // This memory lives as long as the type.
                RuntimeHelpers.AllocateTypeAssociatedMemory(typeof(LoaderHeapAtLimit), FullHeap.BlockSize);
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
}
