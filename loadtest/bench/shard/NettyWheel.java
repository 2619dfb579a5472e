import io.netty.util.HashedWheelTimer;
import io.netty.util.Timeout;
import java.lang.management.ManagementFactory;
import java.util.concurrent.TimeUnit;

/** Netty's HashedWheelTimer for the benchmark `wheel`: CPU ns of the whole process for an operation, one line of JSON. */
final class NettyWheel {
  private static final int SPAN_MS = 30_000;
  private static final int TICK_MS = 5;
  private static int fired;

  public static void main(String[] args) throws Exception {
    int timers = Integer.parseInt(args[0]);
    for (int warm = 0; warm < 2; warm++) run(timers);
    double[] ns = run(timers);
    System.out.printf(java.util.Locale.ROOT, "{\"schedule\":%.2f,\"touch\":%.2f,\"cancel\":%.2f}%n", ns[0], ns[1], ns[2]);
    System.exit(0);
  }

  /** A touch is a cancellation and a new timer: Netty has no other. Both are done when its worker has taken them up. */
  private static double[] run(int timers) throws Exception {
    HashedWheelTimer wheel = new HashedWheelTimer(TICK_MS, TimeUnit.MILLISECONDS, 8_192);
    wheel.start();
    Timeout[] set = new Timeout[timers];
    long begun = cpu();
    for (int n = 0; n < timers; n++) set[n] = wheel.newTimeout(timeout -> fired++, due(n), TimeUnit.MILLISECONDS);
    settle(timers);
    long scheduled = cpu();
    for (int n = 0; n < timers; n++) {
      set[n].cancel();
      set[n] = wheel.newTimeout(timeout -> fired++, due(timers - 1 - n), TimeUnit.MILLISECONDS);
    }
    settle(timers);
    long touched = cpu();
    for (int n = 0; n < timers; n++) set[n].cancel();
    settle(timers);
    long cancelled = cpu();
    wheel.stop();
    double each = timers;
    return new double[] {(scheduled - begun) / each, (touched - scheduled) / each, (cancelled - touched) / each};
  }

  /** Its worker takes up at most 100,000 a tick. */
  private static void settle(int timers) throws Exception {
    Thread.sleep(4L * TICK_MS * (1 + timers / 100_000));
  }

  private static long due(int n) {
    return SPAN_MS + Integer.remainderUnsigned((n + 1) * 0x9e3779b1, SPAN_MS);
  }

  private static long cpu() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }
}
