using System.Runtime.InteropServices;

namespace ClrHostMemory
{
    // ClrHostMemoryGcReading of memory_manager_abi.h.
    [StructLayout(LayoutKind.Sequential)]
    internal struct GcReading
    {
        public uint Size;
        public uint Follows;
        public ulong GcLimit;
        public ulong PauseMilliseconds;
        public ulong Collections;
        public ulong Allocated;
        public ulong Heap;
    }

    // ClrHostMemoryGcOrder of memory_manager_abi.h.
    [StructLayout(LayoutKind.Sequential)]
    internal struct GcOrder
    {
        public uint Size;
        public uint Collect;
        public ulong GcLimit;
        public ulong GcCharged;
    }

    // A reference to IClrHostMemoryControl of memory_manager_abi.h. The slots of its table of methods are those of
    // IUnknown and then the methods in the order of the header.
    internal readonly unsafe struct Control
    {
        private const int FollowGcSlot = 21;

        private readonly void*** _object;

        // Takes over a reference, which lasts as long as the process.
        public Control(void* control) => _object = (void***)control;

        // Returns an HRESULT. The thread is in preemptive mode meanwhile, so no collection waits for it.
        public int FollowGc(GcReading* reading, uint milliseconds, GcOrder* order) =>
            ((delegate* unmanaged[Stdcall]<void*, GcReading*, uint, GcOrder*, int>)(*_object)[FollowGcSlot])(
                _object, reading, milliseconds, order);
    }
}
