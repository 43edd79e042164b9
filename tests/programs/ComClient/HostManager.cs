using System;
using System.Globalization;
using System.Runtime.InteropServices;

// Finds the memory manager of this process. clrmem puts its address into the environment.
internal static class HostManager
{
    // Returns an object that supports IHostMemoryManager, or null without a manager.
    public static object? Find()
    {
        string? text = Environment.GetEnvironmentVariable("CLRMEM_MANAGER");
        return TryParseAddress(text, out IntPtr address) ? Marshal.GetObjectForIUnknown(address) : null;
    }

    // Parses a decimal or hexadecimal (0x...) address. Returns false for null.
    public static bool TryParseAddress(string? text, out IntPtr address)
    {
        address = IntPtr.Zero;
        if (text == null)
        {
            return false;
        }
        // CLRMEM_MANAGER names the process, since its children inherit it. There the address means nothing.
        int colon = text.IndexOf(':');
        if (colon >= 0)
        {
            string own = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
            if (text.Substring(0, colon) != own)
            {
                return false;
            }
            text = text.Substring(colon + 1);
        }
        bool hex = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase);
        if (!long.TryParse(hex ? text.Substring(2) : text,
                           hex ? NumberStyles.AllowHexSpecifier : NumberStyles.None,
                           CultureInfo.InvariantCulture, out long value))
        {
            return false;
        }
        address = new IntPtr(value);
        return value != 0;
    }
}
