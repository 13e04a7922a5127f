import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

// Relative addresses: the built pages work below any path.
export default defineConfig({
  base: "./",
  plugins: [vue()],
  define: { __VUE_OPTIONS_API__: false },
  build: { target: "es2022", modulePreload: { polyfill: false } },
});
