import type { NextConfig } from "next";

// A fixed build id and relative assets: the same source gives the same bytes, wherever it is built.
const config: NextConfig = {
  output: "export",
  assetPrefix: ".",
  generateBuildId: () => "quantcheck",
  experimental: { inlineCss: true },
};

export default config;
