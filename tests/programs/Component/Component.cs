using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

// Component: a component that a native host loads through hostfxr_get_runtime_delegate. Fill allocates and keeps blocks
// of 1 MiB until memory runs out, at most as many as the host allows. As a program it does the same.
public static class Component
{
    // Returns how many blocks fitted before an OutOfMemoryException was caught, negative; if all fitted, their number.
    public static int Fill(IntPtr unused, int most)
    {
        int held = 0;
        bool caught = false;
        // On its own thread: Wine is unreliable when the exception unwinds frames of the host.
        var thread = new Thread(() => caught = !Allocate(most, ref held));
        thread.Start();
        thread.Join();
        return caught ? -held : held;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Allocate(int most, ref int held)
    {
        var blocks = new List<byte[]>(1 << 16);
        try
        {
            for (; held < most; ++held)
            {
                blocks.Add(new byte[1 << 20]);
            }
            GC.KeepAlive(blocks);
            return true;
        }
        catch (OutOfMemoryException)
        {
            blocks.Clear();
            return false;
        }
    }

    private static int Main(string[] args) => Fill(IntPtr.Zero, int.Parse(args[0])) < 0 ? 42 : 0;
}
