import type { Viewport } from "next";
import type { ReactNode } from "react";
import "./page.css";

export const viewport: Viewport = { width: "device-width", initialScale: 1, colorScheme: "light dark" };

// An icon of its own: without one a browser asks for /favicon.ico. The title is not Next's metadata, which would be put
// back over the run's name once the page is live.
export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" suppressHydrationWarning>
      <head><title>quantcheck report</title><link rel="icon" href="data:," /></head>
      <body>{children}</body>
    </html>
  );
}
