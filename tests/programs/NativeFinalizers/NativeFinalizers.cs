using System;

// NativeFinalizers [OBJECTS]: makes OBJECTS (400) objects in turn. Each has 64 KiB in the heap and 256 KiB from the
// memory manager, which its finalizer frees. If the manager refuses, waits once for all finalizers, as careful libraries
// do. Exit code 0: all objects were made; 42: an OutOfMemoryException was caught; 2: without a manager.
internal static class NativeFinalizers
{
    private const uint MemCommitReserve = 0x3000, MemRelease = 0x8000, PageReadWrite = 0x04;
    private const int TaskCritical = 0;
    private const int NativeBytes = 256 * 1024;

    private static IHostMemoryManager manager_ = null!;

    private sealed class Owner
    {
        private readonly byte[] array_ = new byte[64 * 1024];
        private readonly IntPtr address_ = Allocate();

        ~Owner()
        {
            GC.KeepAlive(array_);
            if (address_ != IntPtr.Zero)
            {
                manager_.VirtualFree(address_, UIntPtr.Zero, MemRelease);
            }
        }

        private static IntPtr Allocate()
        {
            if (TryAllocate(out IntPtr address))
            {
                return address;
            }
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return TryAllocate(out address) ? address : throw new OutOfMemoryException();
        }

        private static bool TryAllocate(out IntPtr address)
        {
            return manager_.VirtualAlloc(IntPtr.Zero, (UIntPtr)NativeBytes, MemCommitReserve, PageReadWrite,
                                         TaskCritical, out address) == 0;
        }
    }

    private static int Main(string[] args)
    {
        int objects = args.Length > 0 ? int.Parse(args[0]) : 400;
        if (HostManager.Find() is not IHostMemoryManager manager)
        {
            return 2;
        }
        manager_ = manager;
        try
        {
            for (int i = 0; i < objects; ++i)
            {
                GC.KeepAlive(new Owner());
            }
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        Console.WriteLine("made " + objects + " objects");
        return 0;
    }
}
