import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";
import "./page.css";

export const metadata: Metadata = { title: "quantcheck report" };
export const viewport: Viewport = { width: "device-width", initialScale: 1, colorScheme: "light dark" };

// An icon of its own: without one a browser asks for /favicon.ico.
export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" suppressHydrationWarning>
      <head><link rel="icon" href="data:," /></head>
      <body>{children}</body>
    </html>
  );
}
