using System;

// NativeFinalizers [OBJECTS [HEAP_KIB [NATIVE_KIB]]]: makes OBJECTS (400) objects in turn. Each has HEAP_KIB (64) in the
// heap and NATIVE_KIB (256) from the memory manager, which its finalizer frees. Exit code 0: all objects were made; 42:
// an OutOfMemoryException was caught; 2: without a manager.
internal static class NativeFinalizers
{
    private const uint MemCommitReserve = 0x3000, MemRelease = 0x8000, PageReadWrite = 0x04;
    private const int TaskCritical = 0;

    private static int heapBytes_;
    private static int nativeBytes_;
    private static IHostMemoryManager manager_ = null!;

    private sealed class Owner
    {
        private readonly byte[] array_ = new byte[heapBytes_];
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
            int result = manager_.VirtualAlloc(IntPtr.Zero, (UIntPtr)nativeBytes_, MemCommitReserve, PageReadWrite,
                                               TaskCritical, out IntPtr address);
            return result == 0 ? address : throw new OutOfMemoryException();
        }
    }

    private static int Main(string[] args)
    {
        int objects = args.Length > 0 ? int.Parse(args[0]) : 400;
        heapBytes_ = (args.Length > 1 ? int.Parse(args[1]) : 64) * 1024;
        nativeBytes_ = (args.Length > 2 ? int.Parse(args[2]) : 256) * 1024;
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
