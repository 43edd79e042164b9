// The runtime calls Initialize before Main if STARTUP_HOOKS names this assembly.
internal static class StartupHook
{
    public static void Initialize() => ClrHostMemory.Companion.Start();
}
